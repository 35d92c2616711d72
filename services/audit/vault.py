"""The keys of the audit log: one that guards all others, and one for each person, without which nobody reads them.

A person's key is random and kept wrapped (AES-256-GCM) under the log's key-encryption key, so neither the database nor
the key file alone reads anything. From the key-encryption key come, by HKDF-SHA-256 (RFC 5869), one key to wrap with,
one that makes a person's name unrecognisable in the database, and one for the digests that tell a repeat from a
conflict: a plain hash of an event could be tried out by who guesses its text.
"""

from __future__ import annotations

import hmac
import os
import stat
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
_MOST_OPEN_KEYS = 10_000


class VaultError(ValueError):
    """The key file can't be used. The text says why and never holds the key."""


class WrongKey(Exception):
    """What is sealed was sealed with another key, or was changed since."""


@dataclass(frozen=True, slots=True)
class Key:
    """One person's key, unwrapped."""

    key_id: str
    cipher: AESGCM

    def seal(self, content: bytes, context: bytes) -> bytes:
        """Returns nonce, ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self.cipher.encrypt(nonce, content, context)

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """Returns what was sealed in the same context. Raises WrongKey."""
        return _decrypted(self.cipher, sealed, context)


class Vault:
    """Makes, wraps and unwraps persons' keys. Safe to use from several threads."""

    def __init__(self, master: bytes) -> None:
        """`master` is the key-encryption key, 32 random bytes or more."""
        self._wrapping = AESGCM(_derived(master, b"assay audit: wrap persons' keys"))
        self._person = _derived(master, b"assay audit: recognise a person")
        self.fingerprint = _derived(master, b"assay audit: recognise the key file")
        """Tells this key-encryption key from others, and nothing of it."""
        self._digest = _derived(master, b"assay audit: recognise an event")
        self._unwrapped = lru_cache(maxsize=_MOST_OPEN_KEYS)(self._unwrap)

    @classmethod
    def from_file(cls, path: Path) -> Vault:
        """Reads the key-encryption key from a file of its own.

        Raises:
            VaultError: there is no such file, others may read or write it, or it is shorter than 32 bytes.
        """
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise VaultError(f"{path} can be read or written by others; run: chmod 600 {path}")
            master = path.read_bytes()
        except OSError as fault:
            raise VaultError(f"{path} can't be read: {fault.strerror}") from None
        if len(master) < KEY_BYTES:
            raise VaultError(f"{path} is {len(master)} bytes; it must be {KEY_BYTES} random ones")
        return cls(master)

    def person(self, tenant: str, person: str) -> bytes:
        """Returns what a person is known by in the database, 32 bytes; `person` as Arrival.person says."""
        return hmac.digest(self._person, f"{tenant}\0{person}".encode(), "sha256")

    def digest(self, payload: bytes) -> bytes:
        """Returns what an event's bytes are recognised by, 32 bytes."""
        return hmac.digest(self._digest, payload, "sha256")

    def new_key(self) -> tuple[str, bytes]:
        """Returns the id of a new key, and the key as it is kept."""
        key_id = str(uuid.uuid4())
        nonce = os.urandom(NONCE_BYTES)
        return key_id, nonce + self._wrapping.encrypt(nonce, AESGCM.generate_key(KEY_BYTES * 8), key_id.encode())

    def key(self, key_id: str, wrapped: bytes) -> Key:
        """Returns a key that is kept. Raises WrongKey: it was wrapped under another key, or changed."""
        return self._unwrapped(key_id, wrapped)

    def forget(self) -> None:
        """Drops every key that is in memory; to be called once a person's key was destroyed."""
        self._unwrapped.cache_clear()

    def _unwrap(self, key_id: str, wrapped: bytes) -> Key:
        return Key(key_id, AESGCM(_decrypted(self._wrapping, wrapped, key_id.encode())))


def _derived(master: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(master)


def _decrypted(cipher: AESGCM, sealed: bytes, context: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise WrongKey from None
