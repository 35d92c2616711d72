"""Leaves no process of a mesh behind, whatever becomes of its supervisor.

The kernel kills a part when the supervisor dies (see launch.py), but not what that part had started. So each mesh has
a guard: a process that reads a pipe from the supervisor and, when the pipe ends for whatever reason, kills everything
that belongs to the mesh. A process belongs to it when it is in the session of one of its parts, or carries the mesh's
mark in its environment. Run by path, it imports nothing of Assay's and starts in milliseconds.
"""

from __future__ import annotations

import fnmatch
import os
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress

MARK = "ASSAY_PROCESS_OF"
"""The environment variable that every process of a mesh inherits: the mesh's id, a slash, the part's name."""


def belonging(mark: str, sessions: Collection[int] = ()) -> list[int]:
    """Returns the pids, zombies excepted, whose mark begins with `mark` or whose session is one of `sessions`."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        # A process may end while it is looked at, and another user's can't be looked into.
        with suppress(OSError):
            with open(f"/proc/{entry}/stat", "rb") as file:
                # After the name in parentheses: state, parent, process group, session (proc(5)).
                fields = file.read().rpartition(b")")[2].split()
            if fields[0] in (b"Z", b"X"):
                continue
            if int(fields[3]) in sessions:
                found.append(int(entry))
                continue
            with open(f"/proc/{entry}/environ", "rb") as file:
                if any(variable.startswith(needle) for variable in file.read().split(b"\0")):
                    found.append(int(entry))
    return found


def kill(mark: str, sessions: Collection[int] = (), seconds: float = 5.0) -> list[int]:
    """Sends SIGKILL until none is left or the time is over; returns what was left."""
    end = time.monotonic() + seconds
    while left := belonging(mark, sessions):
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            return left
        time.sleep(0.02)
    return []


def remove(pattern: str) -> None:
    """Removes the files of a folder whose names match: FOLDER/NAME, with * in the name."""
    folder, _, name = pattern.rpartition("/")
    with suppress(OSError):
        for entry in os.listdir(folder):
            if fnmatch.fnmatchcase(entry, name):
                os.unlink(f"{folder}/{entry}")


def main() -> None:
    """Reads lines from standard input: "+SESSION", "-SESSION", "*FOLDER/PATTERN" of files that parts leave behind.

    At the end of the input it kills what belongs to the mesh argv[1], then removes the files.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    leaves: set[str] = set()
    for line in sys.stdin:
        match line[0]:
            case "+":
                sessions.add(int(line[1:]))
            case "-":
                sessions.discard(int(line[1:]))
            case "*":
                leaves.add(line[1:].rstrip("\n"))
    kill(sys.argv[1], sessions)
    for pattern in leaves:
        remove(pattern)


if __name__ == "__main__":
    main()
