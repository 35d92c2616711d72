"""Small disks: full for the processes that are on them, invisible to the rest, and gone afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.small_disk import DISK_BYTES, SmallDisks, SmallDisksMissing
from cli.part import Launch

_WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(b'x' * 5000)"


def write(disks: SmallDisks, file: Path) -> str:
    """Has a process that is on the disks write a file; returns what it complains about."""
    launch = disks.enter(Launch((sys.executable, "-c", _WRITE, str(file))))
    return subprocess.run(launch.command, capture_output=True, text=True, check=False).stderr


def test_a_disk_is_full_to_the_last_byte_until_it_is_freed(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    try:
        disks = SmallDisks(folders)
    except SmallDisksMissing:
        return  # this machine has none; the benchmark says so and does without
    try:
        first, second = folders
        assert write(disks, first / "before") == ""
        disks.fill(first)
        assert "No space left on device" in write(disks, first / "during")
        assert write(disks, second / "during") == ""
        taken = sum(file.stat().st_size for file in disks.outside(first).iterdir())
        assert DISK_BYTES - 100_000 < taken <= DISK_BYTES
        disks.free(first)
        disks.free(first)
        assert write(disks, first / "after") == ""
        assert (disks.outside(first) / "after").stat().st_size == 5000
        assert list(first.iterdir()) == []
    finally:
        disks.close()
    assert list(first.iterdir()) == list(second.iterdir()) == []


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SmallDisksMissing, match=r"."):
        SmallDisks([tmp_path / "nowhere"])
