"""Tenants: each has keys and patterns of its own, so that nobody can follow a person from one tenant to another.

A tenant needs no entry anywhere. One that the tenants file does not name gets a key derived from the deployment's
pseudonym key and its name (HKDF-SHA256, RFC 5869). The file, TOML, says what is different:

    [tenants.acme]
    key_file = "acme.key"                     # instead of the derived key; beside this file, mode 0600
    patterns = { contract = "AC-[0-9]{6}" }   # RE2; what matches becomes [contract:...]
    hash = "sha256"                           # plain, which whoever can guess a value can check; "hmac" without it
"""

from __future__ import annotations

import re
import tomllib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.gateway.masking import Masker, PatternError, compile_pattern
from services.gateway.pseudonyms import KEY_BYTES, PlainHashes, PseudonymKeyError, Pseudonyms, read_key

MOST_PATTERNS = 32
"""Of one tenant."""

_KEPT = 1024  # tenants without an entry whose derived keys are kept
_NAME = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)
_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_FIELDS = frozenset({"key_file", "patterns", "hash"})
_SUBJECT_HEX_DIGITS = 32
_PURPOSE = b"assay tenant pseudonyms\0"


class TenantsError(ValueError):
    """The tenants file can't be used; the text names the tenant, the fault and what is wanted."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """What stands for one tenant's people."""

    name: str
    pseudonyms: Pseudonyms
    """Of whole texts and of persons: always under the tenant's key."""

    masker: Masker

    def subject(self, name: str) -> str:
        """Returns the 32 hex digits that stand for the person of this name in x-assay-subject; "" for none."""
        if not name:
            return ""
        return self.pseudonyms.of_text(f"subject\0{name}".encode()).hex()[:_SUBJECT_HEX_DIGITS]


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the file says of one tenant."""

    key: bytes | None = None
    patterns: Mapping[str, str] = field(default_factory=dict)
    plain: bool = False


class Tenants:
    """Every tenant there may be. Used from one thread."""

    def __init__(self, key: bytes, file: Path | None = None) -> None:
        """`key`: the deployment's, at least 32 random bytes.

        Raises:
            PseudonymKeyError: a key is too short, can't be read, or can be read by others.
            TenantsError: the file can't be used.
        """
        if len(key) < KEY_BYTES:
            raise PseudonymKeyError(f"the pseudonym key has {len(key)} bytes; it must have at least {KEY_BYTES}")
        self._key = key
        entries = {} if file is None else _read(file)
        self._named = {name: self._tenant(name, entry) for name, entry in entries.items()}
        self._derived: OrderedDict[str, Tenant] = OrderedDict()
        self.plain = tuple(sorted(name for name, entry in entries.items() if entry.plain))
        """Those that insist on SHA-256 without a key."""

    @classmethod
    def from_files(cls, key_file: Path, tenants_file: Path | None = None) -> Tenants:
        """Reads the deployment's key and, where there is one, the tenants file. Raises as `__init__` does."""
        return cls(read_key(key_file), tenants_file)

    def of(self, name: str) -> Tenant:
        """Returns a tenant; `name` is the caller's, and was found to be 1 to 64 printable ASCII characters."""
        tenant = self._named.get(name) or self._derived.get(name)
        if tenant is None:
            tenant = self._derived[name] = self._tenant(name, _Entry())
            if len(self._derived) > _KEPT:
                self._derived.popitem(last=False)
        return tenant

    def _tenant(self, name: str, entry: _Entry) -> Tenant:
        key = entry.key or HKDF(SHA256(), KEY_BYTES, salt=None, info=_PURPOSE + name.encode()).derive(self._key)
        pseudonyms = Pseudonyms(key)
        values = PlainHashes(key) if entry.plain else pseudonyms
        return Tenant(name, pseudonyms, Masker(values, entry.patterns))


def _read(file: Path) -> dict[str, _Entry]:
    try:
        document = tomllib.loads(file.read_text())
    except OSError as error:
        raise TenantsError(f"the tenants file can't be read: {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TenantsError(f"{file} is not TOML: {error}") from None
    strange = sorted(document.keys() - {"tenants"})
    if strange:
        raise TenantsError(f"{file}: {strange[0]!r} means nothing here; tenants are tables named [tenants.NAME]")
    tenants = document.get("tenants", {})
    if not isinstance(tenants, dict):
        raise TenantsError(f"{file}: 'tenants' must be a table of tables")
    return {name: _entry(file, name, values) for name, values in tenants.items()}


def _entry(file: Path, name: str, values: Any) -> _Entry:
    where = f"{file}: tenant {name!r}"
    if not _NAME.fullmatch(name):
        raise TenantsError(f"{where}: the name must be 1 to 64 printable ASCII characters without spaces")
    if not isinstance(values, dict):
        raise TenantsError(f"{where} must be a table")
    strange = sorted(values.keys() - _FIELDS)
    if strange:
        raise TenantsError(f"{where}: {strange[0]!r} means nothing here; known are {', '.join(sorted(_FIELDS))}")
    hashing = values.get("hash", "hmac")
    if hashing not in ("hmac", "sha256"):
        raise TenantsError(f"{where}: hash is {hashing!r}; it must be 'hmac' or 'sha256'")
    key_file = values.get("key_file")
    if not (key_file is None or isinstance(key_file, str)):
        raise TenantsError(f"{where}: key_file is {key_file!r}; it must be a path")
    key = None if key_file is None else read_key(file.parent / key_file)
    if key is not None and len(key) < KEY_BYTES:
        raise TenantsError(f"{where}: its key has {len(key)} bytes; it must have at least {KEY_BYTES}")
    return _Entry(key, _patterns(where, values.get("patterns", {})), hashing == "sha256")


def _patterns(where: str, patterns: Any) -> dict[str, str]:
    if not isinstance(patterns, dict):
        raise TenantsError(f"{where}: patterns must be a table of names and regular expressions")
    if len(patterns) > MOST_PATTERNS:
        raise TenantsError(f"{where}: it has {len(patterns)} patterns; {MOST_PATTERNS} at most")
    for kind, pattern in patterns.items():
        if not _KIND.fullmatch(kind):
            raise TenantsError(f"{where}: pattern {kind!r}: the name must be a-z, 0-9 and _, at most 32 characters")
        if not isinstance(pattern, str):
            raise TenantsError(f"{where}: pattern {kind!r} must be a string")
        try:
            compile_pattern(pattern)
        except PatternError as error:
            raise TenantsError(f"{where}: pattern {kind!r}: {error}") from None
    return patterns
