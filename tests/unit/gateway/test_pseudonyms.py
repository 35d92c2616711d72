from __future__ import annotations

import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.pseudonyms import PseudonymKeyError, Pseudonyms


def test_text_is_hmac_sha256_as_in_rfc_4231() -> None:
    # Test case 6: a key of 131 bytes.
    pseudonyms = Pseudonyms(b"\xaa" * 131)
    digest = pseudonyms.of_text(b"Test Using Larger Than Block-Size Key - Hash Key First")
    assert digest.hex() == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"


@given(key=st.binary(min_size=32, max_size=200), text=st.binary(max_size=300))
def test_any_key_and_text_give_what_the_library_gives(key: bytes, text: bytes) -> None:
    assert Pseudonyms(key).of_text(text) == hmac.digest(key, text, "sha256")


def test_kinds_are_kept_apart() -> None:
    pseudonyms = Pseudonyms(bytes(32))
    assert pseudonyms.of_value("phone", "13800138000") != pseudonyms.of_value("bank_card", "13800138000")


def test_a_short_key_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(PseudonymKeyError, match="31 bytes"):
        Pseudonyms(bytes(31))
    with pytest.raises(PseudonymKeyError, match="can't be read"):
        Pseudonyms.from_file(tmp_path / "none")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(bytes(32))
    path.chmod(0o640)
    with pytest.raises(PseudonymKeyError, match="0600"):
        Pseudonyms.from_file(path)
    path.chmod(0o600)
    Pseudonyms.from_file(path)
