"""The data folder of a mesh: who owns it, its keys, its logs and the file that says where everything is."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cli.failure import CommandFailed
from cli.keys import Keys


class DataFolder:
    """One folder, at most one mesh at a time; the lock ends with the process that holds it, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def mesh_file(self) -> Path:
        return self.path / "mesh.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def keys(self) -> Keys:
        return Keys(self.path)

    def of(self, part: str) -> Path:
        """The folder that belongs to one part; made when missing."""
        folder = self.path / part
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def take(self) -> None:
        """Makes the folder, if need be, and holds it until `release` or the end of this process.

        Raises:
            CommandFailed: it can't be written to, or another mesh runs in it.
        """
        try:
            # Masked texts, events and logs are nobody else's to read. A folder that was there keeps its mode.
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CommandFailed(f"can't write to the data folder {self.path}: {error.strerror}") from None
        if not self._try_lock():
            self.release()
            known = self.read_mesh() or {}
            where = f" at {known['public']} (process {known['pid']})" if "public" in known else ""
            raise CommandFailed(
                f"a mesh runs in {self.path} already{where}; stop it, or give another folder with --data"
            )

    def _try_lock(self) -> bool:
        for _ in range(5):  # `is_held` of another process holds it for a moment
            with suppress(OSError):
                fcntl.flock(self._lock or 0, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            time.sleep(0.02)
        return False

    def release(self) -> None:
        """Lets another mesh use the folder; idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_held(self) -> bool:
        """Whether a mesh, of this process or another, holds the folder."""
        if self._lock is not None:
            return True
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def write_mesh(self, mesh: Mapping[str, object]) -> None:
        """Replaces mesh.json at once: a reader sees the old one or the new one."""
        draft = self.mesh_file.with_suffix(".json.new")
        draft.write_text(json.dumps(mesh, indent=2) + "\n")
        draft.replace(self.mesh_file)

    def read_mesh(self) -> dict[str, Any] | None:
        """Returns what mesh.json says of the mesh that runs, or that ran last; None where none ever did."""
        with suppress(OSError, ValueError):
            content: dict[str, Any] = json.loads(self.mesh_file.read_text())
            return content
        return None


def running_mesh(data: Path) -> dict[str, Any]:
    """Returns mesh.json of the mesh that runs in `data`.

    Raises:
        CommandFailed: none does.
    """
    folder = DataFolder(data)
    mesh = folder.read_mesh() if folder.is_held() else None
    if mesh is None:
        raise CommandFailed(f"no mesh runs in {folder.path}; start one with: assay up", running=False)
    return mesh
