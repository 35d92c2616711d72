"""Becomes a part's program after tying its life to the supervisor's: `python launch.py SUPERVISOR_PID PROGRAM ARGS...`.

A process of its own instead of a hook between fork and exec, where Python code is not safe to run. Imports nothing of
Assay's, so it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Asks the kernel for SIGKILL at the supervisor's death, checks that it still lives, and execs."""
    supervisor, program = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != supervisor:  # it died before the request above was made
        sys.exit("the supervisor is gone")
    os.umask(0o077)  # masked texts, outbox, stores and logs are nobody else's to read
    try:
        os.execvp(program[0], program)  # noqa: S606  this is what it is for
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
