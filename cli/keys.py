"""The keys that a mesh makes for itself: each in a file of its own, for its owner alone, and never made twice."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cli.failure import CommandFailed

KEY_BYTES = 32
LOG_NAME = "assay.local/audit"
"""The origin that the checkpoints of a mesh's audit log name."""


class Keys:
    """The files of one data folder."""

    def __init__(self, folder: Path) -> None:
        self._secrets = folder / "secrets"
        self.pseudonym = self._secrets / "pseudonym.key"
        self.audit = self._secrets / "audit-kek.key"
        """Guards the keys of persons in the audit log."""
        self.audit_signing = self._secrets / "audit-signing.key"
        """Signs the audit log's checkpoints."""
        self.audit_public = folder / "audit.pub"
        """What anybody needs to check those signatures."""

    def make(self) -> None:
        """Makes what is missing.

        Raises:
            CommandFailed: a file is there but holds no key.
            OSError
        """
        self._secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in (self.pseudonym, self.audit):
            _make_once(file, lambda: secrets.token_bytes(KEY_BYTES))
            if file.stat().st_size < KEY_BYTES:
                raise CommandFailed(f"{file} is shorter than {KEY_BYTES} bytes; put the right key back")
        self._make_signing_key()

    def _make_signing_key(self) -> None:
        from services.audit.merkle.notes import KeyInvalid, Signer

        _make_once(self.audit_signing, lambda: f"{Signer.generate(LOG_NAME).skey}\n".encode())
        try:
            public = f"{Signer.from_file(self.audit_signing).vkey}\n"
        except KeyInvalid as fault:
            raise CommandFailed(f"{fault}; put the right key back") from None
        if not self.audit_public.exists() or self.audit_public.read_text() != public:
            draft = self.audit_public.with_suffix(".new")
            draft.write_text(public)
            draft.replace(self.audit_public)


def _make_once(file: Path, content: Callable[[], bytes]) -> None:
    if file.exists():
        return
    # Under another name first: a crash must not leave half a key, because everything depends on it.
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(file)
