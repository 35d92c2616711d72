"""Keyed pseudonyms: equal values get equal ones, and nobody without the key can try values.

HMAC-SHA-256 (RFC 2104, FIPS 180-4). A plain hash would not do: the space of identity and phone numbers is small enough
to be tried in full. A tenant can insist on one for the tokens of its values all the same.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

KEY_BYTES = 32
_BLOCK_BYTES = 64  # of SHA-256
TOKEN_HEX_DIGITS = 16
"""Of a masked value: 64 bits, so that two values of one tenant never share a token by chance."""


class PseudonymKeyError(ValueError):
    """The key can't be used; the text says why and never shows it."""


class Pseudonyms:
    """Makes pseudonyms under one deployment's key."""

    def __init__(self, key: bytes) -> None:
        """`key`: at least 32 random bytes.

        Raises:
            PseudonymKeyError: it is shorter.
        """
        if len(key) < KEY_BYTES:
            raise PseudonymKeyError(f"the pseudonym key has {len(key)} bytes; it must have at least {KEY_BYTES}")
        # Both halves of the construction (RFC 2104, section 2) with the key already in: a quarter of the time of
        # hmac.digest for a short text.
        block = key if len(key) <= _BLOCK_BYTES else hashlib.sha256(key).digest()
        block = block.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    @classmethod
    def from_file(cls, path: Path) -> Pseudonyms:
        """Reads the key; raises as `read_key` does, and when the key is too short."""
        return cls(read_key(path))

    def of_text(self, encoded: bytes) -> bytes:
        """Returns the 32 bytes that stand for a text in the audit log; `encoded` is its UTF-8."""
        inner = self._inner.copy()
        inner.update(encoded)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def of_value(self, kind: str, value: str) -> str:
        """Returns the 16 hex digits that stand for a masked value; the kind keeps a card and a phone number apart."""
        return self.of_text(f"{kind}\0{value}".encode("utf-8", "surrogatepass")).hex()[:TOKEN_HEX_DIGITS]


class PlainHashes(Pseudonyms):
    """For a tenant that insists: values become SHA-256 without a key.

    Whoever can guess a value can check the guess, and phone and identity numbers can all be guessed.
    """

    def of_value(self, kind: str, value: str) -> str:
        """Returns the first 16 hex digits of the SHA-256 of the value's canonical form."""
        return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:TOKEN_HEX_DIGITS]


def read_key(path: Path) -> bytes:
    """Reads a key; the file must be readable by its owner alone.

    Raises:
        PseudonymKeyError: there is no such file, or others can read it.
    """
    try:
        mode = path.stat().st_mode
        key = path.read_bytes()
    except OSError as error:
        raise PseudonymKeyError(f"the pseudonym key can't be read: {path}: {error.strerror}") from None
    if mode & 0o077:
        raise PseudonymKeyError(f"{path} can be read by others; give it mode 0600")
    return key
