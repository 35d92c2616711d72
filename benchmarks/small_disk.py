"""Small disks for some parts of a mesh, to be filled to the last byte: seen by those parts alone.

A process in a mount namespace of its own, and for who is not root a user namespace too, mounts a small tmpfs over each
part's data folder and waits; the parts are started inside its namespaces. What they keep outlives them, because the
waiting process holds the mounts. From outside, the same files are below /proc/PID/root.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cli.mesh import Mesh
from cli.part import Launch, Recipe

DISK_BYTES = 64 << 20
_CHUNK = 1 << 20
_FILLER = "filler"
_MOUNT = (
    'for folder; do mount -t tmpfs -o "size=$SIZE,mode=700" tmpfs "$folder" || exit 1; done; echo mounted; exec cat'
)


class SmallDisksMissing(Exception):
    """The machine does not allow them; the text says why."""


class SmallDisks:
    """A small disk at each of some folders, which must exist. Ends with `close`, or with this process."""

    def __init__(self, folders: Collection[Path]) -> None:
        """Raises SmallDisksMissing."""
        # In a user namespace root would lose its sight of what belongs to other users, PostgreSQL's socket for one.
        self._user = () if os.geteuid() == 0 else ("--user",)
        mapped = ("--map-root-user",) if self._user else ()
        command = ["unshare", "--mount", *self._user, *mapped, "sh", "-c", _MOUNT, "sh", *map(str, folders)]
        try:
            self._holder = subprocess.Popen(
                command,
                env={**os.environ, "SIZE": str(DISK_BYTES)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            raise SmallDisksMissing(f"unshare: {error.strerror}") from None
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != "mounted\n":
            words = self._holder.stderr.read().strip().splitlines()
            self.close()
            raise SmallDisksMissing(words[0] if words else "the mount failed")

    def outside(self, path: Path) -> Path:
        """Returns where a file of the parts is seen by everybody else."""
        return Path(f"/proc/{self._holder.pid}/root{path.absolute()}")

    def enter(self, launch: Launch) -> Launch:
        """Returns what starts the same program with the disks in its sight, under the same process id."""
        as_whom = (*self._user, "--preserve-credentials") if self._user else ()
        into = ("nsenter", "--target", str(self._holder.pid), "--mount", *as_whom, "--")
        return replace(launch, command=(*into, *launch.command))

    def fill(self, folder: Path) -> None:
        """Takes what room is left on the disk of a folder, to the last byte."""
        with (self.outside(folder) / _FILLER).open("ab", buffering=0) as file:
            size = _CHUNK
            while size:
                try:
                    if file.write(bytes(size)) < size:
                        size //= 2
                except OSError:
                    size //= 2

    def free(self, folder: Path) -> None:
        """Gives the room back; idempotent."""
        (self.outside(folder) / _FILLER).unlink(missing_ok=True)

    def close(self) -> None:
        """Ends the waiting process; the disks go when the last process that sees them has ended."""
        for pipe in (self._holder.stdin, self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._holder.wait()


class MeshOnSmallDisks(Mesh):
    """A mesh some parts of which have a small disk each, over the folder of the part's name."""

    def __init__(
        self,
        data: Path,
        disks: SmallDisks,
        parts: Collection[str],
        *,
        kafka: bool,
        settings: Mapping[str, Mapping[str, str]],
    ) -> None:
        super().__init__(data, kafka=kafka, settings=settings)
        self._disks = disks
        self._on_disks = frozenset(parts)

    def _build(self, made: Sequence[Recipe]) -> None:
        super()._build([self._moved(recipe) if recipe.name in self._on_disks else recipe for recipe in made])

    def _moved(self, recipe: Recipe) -> Recipe:
        return replace(recipe, prepare=lambda: self._disks.enter(recipe.prepare()))
