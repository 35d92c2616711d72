"""The file of published checkpoints: signed notes, each with an empty line behind it, only ever appended to."""

from __future__ import annotations

import os
from pathlib import Path

from services.audit.merkle.notes import split_notes, whole_notes

_END_BYTES = 64 * 1024
_MOST_TORN_BYTES = 4096
"""A note has fewer."""

_SIGNATURE = "\n— ".encode()


class Notebook:
    """checkpoints.log. For one process at a time; each call blocks for as long as the disk takes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole = False

    def newest(self) -> str | None:
        """Returns the last whole note, None where there is none. Raises OSError."""
        whole, _ = self._end()
        return list(split_notes(whole))[-1] if whole else None

    def append(self, note: str) -> None:
        """Appends a note; synced when it returns. A torn note that a crash left at the end is cut off first.

        Raises:
            OSError: the note may be there or not.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            if not self._whole:
                self._cut(descriptor)
            self._whole = False
            content = f"{note}\n".encode()
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
            self._whole = True
        finally:
            os.close(descriptor)

    def _cut(self, descriptor: int) -> None:
        _, torn = self._end()
        if torn > _MOST_TORN_BYTES:
            raise OSError(f"{self._path} ends in what is no checkpoint")  # not ours to cut
        if torn:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - torn)

    def _end(self) -> tuple[str, int]:
        """Returns the whole notes near the file's end, and how many bytes are behind them."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _END_BYTES))
                end = file.read()
        except FileNotFoundError:
            return "", 0
        if size > _END_BYTES:
            # Behind a signature and an empty line begins a note.
            end = end[end.find(b"\n\n", end.find(_SIGNATURE)) + 2 :]
        text = end.decode(errors="replace")
        whole = text[: whole_notes(text)]
        return whole, len(end) - len(whole.encode())
