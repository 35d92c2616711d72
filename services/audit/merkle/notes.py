"""Checkpoints as signed notes (C2SP signed-note and tlog-checkpoint): text that anybody can read, keep and check.

    assay.local/audit               the log's origin, which is also its key's name
    4711                            how many entries
    xz9Q...                         the root over them, in base64
                                    an empty line
    — assay.local/audit kT4w...     a signature in base64: four bytes of key id, then Ed25519's

A file of several notes has an empty line behind each.
"""

from __future__ import annotations

import base64
import binascii
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.audit.merkle.hashing import HASH_BYTES

_ED25519 = b"\x01"
_KEY_BYTES = 32
_ID_BYTES = 4
_PRIVATE = "PRIVATE+KEY+"
_SIGNATURE = "— "
_MOST_SIGNATURES = 100
_MOST_CHARACTERS = 1_000_000
_WHOLE = re.compile(f"(?:[^\n]+\n)+\n(?:{_SIGNATURE}[^\n]+\n)+")
"""A checkpoint's note. The text of one has no empty line, so the first is where its signatures begin."""


class NoteInvalid(Exception):
    """A text is no note, not signed by whom it should be, or no checkpoint. Its text says what is wrong."""


class KeyInvalid(ValueError):
    """A key's text or file can't be used. Its text says why, and never holds the key."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How many entries a log has, and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Returns what is signed."""
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n"


class Verifier:
    """A public key with its name."""

    def __init__(self, name: str, key: Ed25519PublicKey) -> None:
        """Raises KeyInvalid when the name is not one: empty, with a space, a plus or a control character."""
        _check_name(name)
        self.name = name
        self._key = key
        raw = key.public_bytes_raw()
        self.key_id = _key_id(name, raw)
        self.vkey = f"{name}+{self.key_id.hex()}+{_encode(_ED25519 + raw)}"
        """The public key as text, "name+id+key"; what Verifier.parse reads."""

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Reads a public key, "name+id+key". Raises KeyInvalid."""
        name, key_id, raw = _parts(vkey.strip(), "a public key is name+id+key, three parts joined by plus signs")
        try:
            made = cls(name, Ed25519PublicKey.from_public_bytes(raw))
        except ValueError as fault:
            raise KeyInvalid(str(fault)) from None
        _check_id(key_id, made.key_id)
        return made

    def accepts(self, text: str, signature: bytes) -> bool:
        """Returns whether this key signed `text`."""
        try:
            self._key.verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


class Signer:
    """A private key with its name: signs a log's checkpoints."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        """Raises KeyInvalid when the name is not one."""
        self.verifier = Verifier(name, key.public_key())
        self.name = name
        self._key = key

    @classmethod
    def generate(cls, name: str) -> Signer:
        """Makes a new key. Raises KeyInvalid when the name is not one."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, skey: str) -> Signer:
        """Reads a private key, "PRIVATE+KEY+name+id+key" as `skey` writes it. Raises KeyInvalid."""
        skey = skey.strip()
        if not skey.startswith(_PRIVATE):
            raise KeyInvalid(f"a private key begins with {_PRIVATE}")
        name, key_id, raw = _parts(skey.removeprefix(_PRIVATE), f"a private key is {_PRIVATE}name+id+key")
        made = cls(name, Ed25519PrivateKey.from_private_bytes(raw))
        _check_id(key_id, made.verifier.key_id)
        return made

    @classmethod
    def from_file(cls, path: Path) -> Signer:
        """Reads a private key from a file that holds nothing else.

        Raises:
            KeyInvalid: there is no such file, others may read or write it, or it holds no private key.
        """
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise KeyInvalid(f"{path} can be read or written by others; run: chmod 600 {path}")
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as fault:
            raise KeyInvalid(f"{path} can't be read: {type(fault).__name__}") from None
        try:
            return cls.parse(text)
        except KeyInvalid as fault:
            raise KeyInvalid(f"{path}: {fault}") from None

    @property
    def vkey(self) -> str:
        """The public key as text; what everybody may have."""
        return self.verifier.vkey

    @property
    def skey(self) -> str:
        """The private key as text, one line; what the key file holds, and nobody else may have."""
        return f"{_PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{_encode(_ED25519 + self._key.private_bytes_raw())}"

    def sign(self, checkpoint: Checkpoint) -> str:
        """Returns a checkpoint as a signed note.

        Raises:
            ValueError: the checkpoint's origin is not the key's name; a verifier would refuse it.
        """
        if checkpoint.origin != self.name:
            raise ValueError(f"{self.name} can't sign for {checkpoint.origin}")
        return self.sign_text(checkpoint.text())

    def sign_text(self, text: str) -> str:
        """Returns a note of any text, which ends in a newline."""
        signature = _encode(self.verifier.key_id + self._key.sign(text.encode()))
        return f"{text}\n{_SIGNATURE}{self.name} {signature}\n"


def open_note(note: str, verifiers: Sequence[Verifier]) -> Checkpoint:
    """Returns the checkpoint that a note holds.

    Raises:
        NoteInvalid: see verified(); or the text is no checkpoint; or no key that signed has its origin's name, so that
            it is another log's.
    """
    text, signers = verified(note, verifiers)
    checkpoint = _checkpoint(text)
    if checkpoint.origin not in {signer.name for signer in signers}:
        raise NoteInvalid(f"the origin is {checkpoint.origin}, which is not the name of the key that signed")
    return checkpoint


def verified(note: str, verifiers: Iterable[Verifier]) -> tuple[str, list[Verifier]]:
    """Returns a note's text and whose signatures it has. Signatures by unknown keys are passed over.

    Raises:
        NoteInvalid: it is not of the form of a note, none of `verifiers` signed it, or a signature that claims to be
            one of theirs is not.
    """
    text, lines = _take_apart(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    signers: list[Verifier] = []
    for line in lines:
        name, key_id, signature = _signature(line)
        verifier = known.get((name, key_id))
        if verifier is None or verifier in signers:
            continue
        if not verifier.accepts(text, signature):
            raise NoteInvalid(f"the signature of {name} is wrong")
        signers.append(verifier)
    if not signers:
        raise NoteInvalid("no signature is by a key that is trusted here")
    return text, signers


def split_notes(text: str) -> Iterator[str]:
    """Yields the notes of a file of checkpoints, each of which has an empty line behind it. They are not checked.

    Raises:
        NoteInvalid: what is left at the end is no whole note, for example because its writing was cut off.
    """
    at = 0
    while at < len(text):
        if text[at] == "\n":
            at += 1
            continue
        found = _WHOLE.match(text, at)
        if found is None:
            raise NoteInvalid("what is at the end, or in the place of a note, is no whole note")
        yield found.group()
        at = found.end()


def whole_notes(text: str) -> int:
    """Returns how many of a file's characters are whole notes, each with the empty line behind it; the rest is torn."""
    at = 0
    while (found := _WHOLE.match(text, at)) and text[found.end() : found.end() + 1] == "\n":
        at = found.end() + 1
    return at


def _take_apart(note: str) -> tuple[str, list[str]]:
    if len(note) > _MOST_CHARACTERS:
        raise NoteInvalid(f"it is longer than {_MOST_CHARACTERS} characters")
    if any(character < " " and character != "\n" for character in note):
        raise NoteInvalid("it holds a control character")
    head, gap, tail = note.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise NoteInvalid("it has no text, empty line and signatures, each line ended by a newline")
    lines = tail.removesuffix("\n").split("\n")
    if len(lines) > _MOST_SIGNATURES:
        raise NoteInvalid(f"it has more than {_MOST_SIGNATURES} signatures")
    return head + "\n", lines


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, gap, encoded = line.removeprefix(_SIGNATURE).partition(" ")
    raw = _decode(encoded)
    if not line.startswith(_SIGNATURE) or not gap or raw is None or len(raw) <= _ID_BYTES or not _is_name(name):
        raise NoteInvalid("a signature line is not of the form: — name signature")
    return name, raw[:_ID_BYTES], raw[_ID_BYTES:]


def _checkpoint(text: str) -> Checkpoint:
    # Lines behind the third are extensions, which a reader that does not know them passes over.
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < 3 or not all(lines):
        raise NoteInvalid("it is no checkpoint: origin, size and root, none of them empty")
    origin, size, encoded = lines[:3]
    if not (size.isascii() and size.isdecimal()) or (size != "0" and size.startswith("0")) or len(size) > 18:
        raise NoteInvalid("its size is not a number")
    root = _decode(encoded)
    if root is None or len(root) != HASH_BYTES:
        raise NoteInvalid(f"its root is not {HASH_BYTES} bytes in base64")
    return Checkpoint(origin, int(size), root)


def _parts(text: str, form: str) -> tuple[str, str, bytes]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    raw = _decode(encoded)
    if raw is None or not name or not key_id:
        raise KeyInvalid(form)
    if raw[:1] != _ED25519 or len(raw) != 1 + _KEY_BYTES:
        raise KeyInvalid("the key is not an Ed25519 key, which is a byte of 1 and 32 bytes in base64")
    _check_name(name)
    return name, key_id, raw[1:]


def _key_id(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_ID_BYTES]


def _check_id(given: str, computed: bytes) -> None:
    if given != computed.hex():
        raise KeyInvalid(f"the key's id is {computed.hex()}, not what its text says; it was mistyped or altered")


def _check_name(name: str) -> None:
    if not _is_name(name):
        raise KeyInvalid("a key's name must not be empty nor hold a space, a plus sign or a control character")


def _is_name(name: str) -> bool:
    return bool(name) and not any(
        character.isspace() or character < " " or character in "+\x7f\ufeff" for character in name
    )


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str) -> bytes | None:
    """Returns the bytes; None when it is not base64, or not written as it would be written."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if _encode(raw) == text else None
