"""What a witness keeps of a log, apart from it: its checkpoints and the hash of every entry, only ever appended to.

    log.pub            the log's public key, "name+id+key"
    checkpoints.log    signed notes, each with an empty line behind it
    leaf-hashes        32 bytes for each entry, from entry 0 on
    evidence-*.note    checkpoints that the log signed although they contradict those before

The hashes are synced before the checkpoint that covers them is written, so a crash leaves at most some too many.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from cli.failure import CommandFailed
from services.audit.merkle.frontier import Frontier
from services.audit.merkle.hashing import HASH_BYTES
from services.audit.merkle.notes import Checkpoint, NoteInvalid, Verifier, open_note, split_notes, whole_notes
from services.audit.merkle.verification import LeafHashes

_SOME = 100_000


class WitnessFolder:
    """A witness's folder, read when it is made; nothing in it is believed that its checkpoints don't confirm."""

    def __init__(self, path: Path, verifier: Verifier | None = None) -> None:
        """Reads the folder, and makes it when it is missing and `verifier` says which log it is for.

        Raises:
            CommandFailed: there is none, it is another log's, can't be read, or does not hold what it should.
        """
        self.path = path
        self._notes, self._leaves = path / "checkpoints.log", path / "leaf-hashes"
        try:
            self.verifier = self._key(verifier)
            whole = self._whole_notes()
            self.leaf_hashes = self._map()
        except (OSError, UnicodeDecodeError) as fault:
            raise CommandFailed(f"the witness folder {path} can't be used: {fault}") from None
        self.checkpoints: list[Checkpoint] = []
        """All that were kept, oldest first."""
        try:
            self.checkpoints += [open_note(note, [self.verifier]) for note in split_notes(whole)]
        except NoteInvalid as fault:
            raise self._damaged(f"checkpoint {len(self.checkpoints) + 1} of {self._notes.name}: {fault}") from None
        self.frontier = Frontier()
        self._confirm()

    @property
    def size(self) -> int:
        """How many entries the newest checkpoint covers; 0 without one."""
        return self.frontier.size

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other witnesses out, and cuts off what a crash left unfinished.

        Raises:
            CommandFailed: another one writes here.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CommandFailed(f"another witness keeps its log in {self.path}") from None
            self._notes.touch()
            self._leaves.touch()
            os.truncate(self._notes, len(self._whole_notes().encode()))
            os.truncate(self._leaves, self.size * HASH_BYTES)
            yield
        finally:
            os.close(descriptor)

    def append(self, checkpoint: Checkpoint, note: str, leaf_hashes: Iterable[bytes]) -> None:
        """Keeps a checkpoint and the hashes of the entries that it covers beyond those before; durable when it returns.

        The caller has found it to be right. Raises OSError; then the folder must be opened again.
        """
        added = list(leaf_hashes)
        _append(self._leaves, b"".join(added))
        _append(self._notes, f"{note}\n".encode())
        self.frontier.extend(added)
        self.checkpoints.append(checkpoint)
        self.leaf_hashes = self._map()

    def keep_evidence(self, note: str) -> Path:
        """Keeps a checkpoint that contradicts those that were kept, under a name of its own. Raises OSError."""
        file = self.path / f"evidence-{sha256(note.encode()).hexdigest()[:16]}.note"
        if not file.exists():
            _append(file, note.encode())
        return file

    def _key(self, verifier: Verifier | None) -> Verifier:
        file = self.path / "log.pub"
        if file.exists():
            kept = Verifier.parse(file.read_text())
            if verifier is not None and verifier.vkey != kept.vkey:
                raise CommandFailed(f"{self.path} witnesses {kept.vkey}, not {verifier.vkey}")
            return kept
        if verifier is None:
            raise CommandFailed(f"{self.path} is no witness folder: it has no log.pub")
        self.path.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".new")
        draft.unlink(missing_ok=True)
        _append(draft, f"{verifier.vkey}\n".encode())
        draft.rename(file)
        return verifier

    def _whole_notes(self) -> str:
        if not self._notes.exists():
            return ""
        text = self._notes.read_bytes().decode(errors="replace")
        return text[: whole_notes(text)]

    def _map(self) -> LeafHashes:
        if not self._leaves.exists() or not self._leaves.stat().st_size:
            return b""
        with self._leaves.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _confirm(self) -> None:
        """Follows the hashes from checkpoint to checkpoint."""
        held = len(self.leaf_hashes) // HASH_BYTES
        for checkpoint in self.checkpoints:
            if checkpoint.size > held:
                raise self._damaged(f"{self._leaves.name} has {held} hashes; a checkpoint covers {checkpoint.size}")
            for start in range(self.frontier.size, checkpoint.size, _SOME):
                some = self.leaf_hashes[start * HASH_BYTES : min(start + _SOME, checkpoint.size) * HASH_BYTES]
                self.frontier.extend(some[at : at + HASH_BYTES] for at in range(0, len(some), HASH_BYTES))
            if self.frontier.size != checkpoint.size or self.frontier.root() != checkpoint.root:
                raise self._damaged(f"{self._leaves.name} does not lead to the checkpoint of {checkpoint.size} entries")
        # Those behind the newest checkpoint were not confirmed by anything yet.
        self.leaf_hashes = _Beginning(self.leaf_hashes, self.size * HASH_BYTES)

    def _damaged(self, fault: str) -> CommandFailed:
        return CommandFailed(f"the witness folder {self.path} is damaged: {fault}")


class _Beginning:
    """The first `size` bytes of something longer."""

    def __init__(self, content: LeafHashes, size: int) -> None:
        self._content = content
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice, /) -> bytes:
        return self._content[place]


def _append(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
