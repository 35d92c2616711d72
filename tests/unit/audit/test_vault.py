from __future__ import annotations

from pathlib import Path

import pytest

from services.audit.vault import Vault, VaultError, WrongKey
from tests.fixtures.audit import vault


def test_what_is_sealed_is_opened_with_the_same_key_in_the_same_context() -> None:
    key_id, wrapped = vault().new_key()
    sealed = vault().key(key_id, wrapped).seal(b"ward 7", b"e1")
    assert b"ward 7" not in sealed
    assert vault().key(key_id, wrapped).unseal(sealed, b"e1") == b"ward 7"
    again = vault().key(key_id, wrapped).seal(b"ward 7", b"e1")
    assert again != sealed, "a nonce is never used twice"


@pytest.mark.parametrize("sealed", [b"", b"short", bytes(40)])
def test_what_was_not_sealed_with_the_key_is_not_opened(sealed: bytes) -> None:
    key = vault().key(*vault().new_key())
    with pytest.raises(WrongKey):
        key.unseal(sealed, b"e1")


def test_another_context_or_key_opens_nothing() -> None:
    key, other = (vault().key(*vault().new_key()) for _ in range(2))
    sealed = key.seal(b"ward 7", b"e1")
    for attempt, context in ((key, b"e2"), (other, b"e1")):
        with pytest.raises(WrongKey):
            attempt.unseal(sealed, context)


def test_a_wrapped_key_opens_under_its_own_master_and_id_alone() -> None:
    key_id, wrapped = vault().new_key()
    for guard, name in ((vault(1), key_id), (vault(), "another id")):
        with pytest.raises(WrongKey):
            guard.key(name, wrapped)


def test_keys_in_memory_are_few_and_can_be_dropped() -> None:
    guard = vault()
    kept = guard.new_key()
    first = guard.key(*kept)
    assert guard.key(*kept) is first
    guard.forget()
    assert guard.key(*kept) is not first


def test_names_and_digests_depend_on_the_master_and_on_each_part() -> None:
    values = [
        vault().person("acme", "caller a"),
        vault().person("acme", "caller b"),
        vault().person("zenith", "caller a"),
        vault(1).person("acme", "caller a"),
        vault().digest(b"acme\0caller a"),
        vault(1).digest(b"acme\0caller a"),
        vault().fingerprint,
        vault(1).fingerprint,
    ]
    assert len(set(values)) == len(values)
    assert {len(value) for value in values} == {32}
    assert vault().person("acme", "caller a") == values[0]


def test_key_file(tmp_path: Path) -> None:
    file = tmp_path / "kek"
    file.touch(mode=0o600)
    file.write_bytes(bytes(32))
    assert Vault.from_file(file).fingerprint == Vault(bytes(32)).fingerprint


@pytest.mark.parametrize(
    ("content", "mode", "fault"),
    [(bytes(31), 0o600, "31 bytes"), (bytes(32), 0o640, "chmod 600"), (None, 0, "No such file")],
)
def test_key_file_that_can_not_be_used(tmp_path: Path, content: bytes | None, mode: int, fault: str) -> None:
    file = tmp_path / "kek"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(VaultError, match=fault):
        Vault.from_file(file)
