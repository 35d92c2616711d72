from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.gateway.pseudonyms import PseudonymKeyError
from services.gateway.tenants import Tenants, TenantsError

KEY = bytes(range(32))


def write(folder: Path, text: str) -> Path:
    file = folder / "tenants.toml"
    file.write_text(text)
    return file


def key_file(folder: Path, name: str = "acme.key", size: int = 32) -> Path:
    path = folder / name
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    return path


def test_the_same_value_has_one_token_in_a_tenant_and_another_in_the_next() -> None:
    tenants = Tenants(KEY)
    first, again, other = (tenants.of(name).masker.mask("13800138000").text for name in ("acme", "acme", "umbrella"))
    assert first == again != other


def test_a_tenant_is_the_same_after_a_restart() -> None:
    assert Tenants(KEY).of("acme").masker.mask("a@b.cn") == Tenants(KEY).of("acme").masker.mask("a@b.cn")


def test_another_deployment_has_other_tokens() -> None:
    assert Tenants(KEY).of("acme").masker.mask("a@b.cn") != Tenants(bytes(32)).of("acme").masker.mask("a@b.cn")


def test_a_flood_of_names_keeps_no_flood_of_keys() -> None:
    tenants = Tenants(KEY)
    before = tenants.of("acme").masker.mask("a@b.cn")
    for number in range(5000):
        tenants.of(f"made-up-{number}")
    assert len(tenants._derived) <= 1024
    assert tenants.of("acme").masker.mask("a@b.cn") == before


def test_a_tenants_own_key_is_used(tmp_path: Path) -> None:
    key_file(tmp_path)
    named = Tenants(KEY, write(tmp_path, '[tenants.acme]\nkey_file = "acme.key"\n'))
    elsewhere = Tenants(bytes(32), write(tmp_path, '[tenants.acme]\nkey_file = "acme.key"\n'))
    assert named.of("acme").masker.mask("a@b.cn") == elsewhere.of("acme").masker.mask("a@b.cn")
    assert named.of("acme").masker.mask("a@b.cn") != Tenants(KEY).of("acme").masker.mask("a@b.cn")


def test_a_tenants_own_patterns_are_masked_for_it_alone(tmp_path: Path) -> None:
    tenants = Tenants(KEY, write(tmp_path, "[tenants.acme]\npatterns = { contract = 'AC-[0-9]{6}' }\n"))
    masked = tenants.of("acme").masker.mask("合同AC-123456，谢谢")
    assert masked.found == (("contract", 1),)
    assert "123456" not in masked.text
    assert tenants.of("other").masker.mask("合同AC-123456，谢谢").found == ()


def test_plain_sha256_is_for_the_tenant_that_insists(tmp_path: Path) -> None:
    tenants = Tenants(KEY, write(tmp_path, '[tenants.acme]\nhash = "sha256"\n'))
    digest = hashlib.sha256(b"zhang@example.cn").hexdigest()[:16]
    assert tenants.of("acme").masker.mask("Zhang@Example.cn").text == f"[email:{digest}]"
    assert digest not in tenants.of("other").masker.mask("Zhang@Example.cn").text
    assert tenants.plain == ("acme",)
    # Whole texts stay under the key.
    assert tenants.of("acme").pseudonyms.of_text(b"x") != hashlib.sha256(b"x").digest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tenants.acme", "is not TOML"),
        ("[tenant.acme]", "'tenant' means nothing"),
        ("tenants = 3", "must be a table"),
        ("[tenants]\nacme = 3", "tenant 'acme' must be a table"),
        ('[tenants."a b"]', "'a b': the name must be"),
        ("[tenants.acme]\nkeyfile = 'x'", "tenant 'acme': 'keyfile' means nothing here"),
        ("[tenants.acme]\nhash = 'md5'", "hash is 'md5'; it must be 'hmac' or 'sha256'"),
        ("[tenants.acme]\nkey_file = 3", "key_file is 3"),
        ("[tenants.acme]\npatterns = 3", "patterns must be a table"),
        ("[tenants.acme]\npatterns = { 'A B' = 'x' }", "pattern 'A B': the name"),
        ("[tenants.acme]\npatterns = { a = 3 }", "pattern 'a' must be a string"),
        ("[tenants.acme]\npatterns = { a = '(' }", "pattern 'a': missing )"),
        ("[tenants.acme]\npatterns = { a = '(?<=x)y' }", "pattern 'a': invalid"),
        ("[tenants.acme]\npatterns = { a = 'x*' }", "pattern 'a': it matches the empty text"),
        ("[tenants.acme]\npatterns = { a = '(?:[a-z]{500}[0-9]{500}){1}[a-z]{500}[0-9]{999}' }", "instructions"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TenantsError) as raised:
        Tenants(KEY, write(tmp_path, text))
    assert words in str(raised.value)


def test_keys_that_are_wrong_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, '[tenants.acme]\nkey_file = "acme.key"\n')
    with pytest.raises(PseudonymKeyError, match="can't be read"):
        Tenants(KEY, file)
    path = key_file(tmp_path)
    path.chmod(0o644)
    with pytest.raises(PseudonymKeyError, match="0600"):
        Tenants(KEY, file)
    key_file(tmp_path, size=16)
    with pytest.raises(TenantsError, match="16 bytes"):
        Tenants(KEY, file)
    with pytest.raises(PseudonymKeyError, match="31 bytes"):
        Tenants(bytes(31))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TenantsError, match="can't be read"):
        Tenants(KEY, tmp_path / "none.toml")
