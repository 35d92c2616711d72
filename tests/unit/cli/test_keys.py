"""The keys of a mesh: made once, for the owner alone, never replaced."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cli.failure import CommandFailed
from cli.keys import LOG_NAME, Keys
from services.audit.merkle.notes import Signer, Verifier


def test_keys_are_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make()
    files = (keys.pseudonym, keys.audit, keys.audit_signing)
    contents = [file.read_bytes() for file in files]
    assert [len(content) for content in contents[:2]] == [32, 32]
    assert len(set(contents)) == 3
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.audit.parent.stat().st_mode) == 0o700
    Keys(tmp_path).make()
    assert [file.read_bytes() for file in files] == contents
    other = Keys(tmp_path / "other")
    other.make()
    assert other.pseudonym.read_bytes() not in contents


def test_the_public_key_is_where_people_find_it(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make()
    verifier = Verifier.parse(keys.audit_public.read_text())
    assert verifier.name == LOG_NAME
    assert verifier.vkey == Signer.from_file(keys.audit_signing).vkey
    keys.audit_public.unlink()
    keys.make()
    assert Verifier.parse(keys.audit_public.read_text()).vkey == verifier.vkey


@pytest.mark.parametrize("name", ["pseudonym", "audit"])
def test_a_short_key_is_refused_and_not_replaced(tmp_path: Path, name: str) -> None:
    keys = Keys(tmp_path)
    keys.make()
    file: Path = getattr(keys, name)
    file.write_bytes(b"short")
    with pytest.raises(CommandFailed, match="shorter than 32"):
        keys.make()
    assert file.read_bytes() == b"short"


def test_a_signing_key_that_is_none_is_refused_and_not_replaced(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make()
    keys.audit_signing.write_text("PRIVATE+KEY+else")
    with pytest.raises(CommandFailed, match="put the right key back"):
        keys.make()
    assert keys.audit_signing.read_text() == "PRIVATE+KEY+else"
