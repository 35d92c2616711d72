"""One part of a mesh: a process that is started, asked whether it is ready, started again when it dies, and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from cli import guard
from cli.backoff import Backoff
from cli.failure import CommandFailed
from cli.readiness import NotReady, Probe

LAUNCHER = Path(__file__).with_name("launch.py")
POLL_SECONDS = {"starting": 0.05, "unhealthy": 0.5, "ready": 2.0}
GRACE_SECONDS = 15.0
"""How long a part may take to end after SIGTERM before it is killed."""
LONGEST_LOG_BYTES = 64 * 1024 * 1024


class State(StrEnum):
    """Where a part stands."""

    WAITING = "waiting"  # for the parts it needs
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"  # it runs, but says itself that it is not ready, or does not answer
    RESTARTING = "restarting"
    FAILING = "failing"  # it died too often within a minute; tried again slowly
    HELD = "held"  # killed by its supervisor, and kept down until it is released
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the process sees; nothing else is added but its mark."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to run a part."""

    name: str
    prepare: Callable[[], Launch]
    """Called before each start, while the part does not run; raises CommandFailed where it can't be started."""
    address: str
    """Where it answers, as host:port."""
    probe: Probe
    directory: Path
    """Its working directory."""
    needs: tuple[str, ...] = ()
    """The parts that must have been ready once before this one is started."""
    metrics: str | None = None
    """Where its Prometheus metrics are, as host:port."""
    grace_seconds: float = GRACE_SECONDS
    leaves: str = ""
    """A pattern of files that a killed process leaves behind, to be removed after each end."""


@dataclass(frozen=True, slots=True)
class View:
    """What is known of a part at one moment."""

    name: str
    address: str
    metrics: str | None
    log: Path
    state: State = State.WAITING
    pid: int | None = None
    restarts: int = 0
    since: float = 0.0
    """When it came into this state, in seconds of Unix time."""
    detail: str = ""
    """Why it is not ready; empty when it is."""
    last_lines: tuple[str, ...] = ()
    """The end of its log, where it is failing."""


class Part:
    """Runs one recipe. `mark` names its processes to the guard; `on_change` is called after each change of the view."""

    def __init__(
        self,
        recipe: Recipe,
        log: Path,
        mark: str,
        on_change: Callable[[View], None],
        announce: Callable[[str], None],
    ) -> None:
        self.recipe = recipe
        self.view = View(recipe.name, recipe.address, recipe.metrics, log, since=time.time())
        self.was_ready = asyncio.Event()
        self._mark = mark
        self._on_change = on_change
        self._announce = announce
        self._backoff = Backoff()
        self._stop = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._down = asyncio.Event()
        self._down.set()
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Keeps the part running until `stop`. Call it once, in the main thread: the kernel ties a child's life to the
        thread that started it."""
        while not self._stop.is_set():
            if not self._free.is_set():
                self._change(State.HELD, pid=None, detail="is held down")
                await self._free.wait()
                continue
            ending = await self._run_once()
            if self._stop.is_set():
                break
            if not self._free.is_set():
                self._change(State.HELD, pid=None, restarts=self.view.restarts + 1, detail="is held down")
                continue
            delay = self._backoff.next(time.monotonic())
            self._change(
                State.FAILING if self._backoff.failing else State.RESTARTING,
                pid=None,
                restarts=self.view.restarts + 1,
                detail=ending,
                last_lines=tuple(self.last_log_lines()) if self._backoff.failing else (),
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
        self._change(State.STOPPED, pid=None)

    async def _run_once(self) -> str:
        """Starts the process and returns, when it has ended, how."""
        try:
            launch = await asyncio.to_thread(self.recipe.prepare)
        except CommandFailed as error:
            return error.message
        if self._stop.is_set() or not self._free.is_set():
            return ""
        self._down.clear()
        try:
            return await self._attend(launch)
        finally:
            self._down.set()

    async def _attend(self, launch: Launch) -> str:
        process = await self._start(launch)
        if not self._free.is_set():  # held while it was being started, when there was nothing to kill yet
            with suppress(ProcessLookupError):
                process.kill()
        watch = asyncio.create_task(self._watch(), name=f"watch {self.recipe.name}")
        code = await process.wait()
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        await self._clear_away(process.pid)
        return _ending(code)

    async def hold(self) -> None:
        """Kills the process, and what it started, and keeps the part down until `release`; returns when it is down."""
        self._free.clear()
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await self._down.wait()

    def release(self) -> None:
        """Lets a held part start again, at once."""
        self._free.set()

    async def stop(self) -> None:
        """Asks the process to end, waits for the grace, then kills it. `run` returns soon after. Idempotent."""
        self._stop.set()
        self._free.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._change(State.STOPPING)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self.recipe.grace_seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def last_log_lines(self, count: int = 5) -> list[str]:
        """The end of the log, without the supervisor's own lines."""
        try:
            with self.view.log.open("rb") as file:
                file.seek(max(0, self.view.log.stat().st_size - 16_384))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.strip() and '"logger": "assay.supervisor"' not in line][-count:]

    async def _start(self, launch: Launch) -> asyncio.subprocess.Process:
        recipe = self.recipe
        with self.view.log.open("ab") as log:
            line = {"time": round(time.time(), 3), "logger": "assay.supervisor", "event": "start", "part": recipe.name}
            log.write(json.dumps(line).encode() + b"\n")
            log.flush()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", str(LAUNCHER), str(os.getpid()), *launch.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**launch.environment, guard.MARK: self._mark},
                cwd=recipe.directory,
                start_new_session=True,
            )
        self._announce(f"+{self._process.pid}")
        if recipe.leaves:
            self._announce(f"*{recipe.leaves}")
        self._change(State.STARTING, pid=self._process.pid)
        return self._process

    async def _watch(self) -> None:
        while True:
            try:
                await self.recipe.probe()
            except NotReady as error:
                if self.view.state is State.STARTING:
                    self._change(State.STARTING, detail=str(error))
                elif not self._stop.is_set():
                    self._change(State.UNHEALTHY, detail=str(error))
            else:
                if not self._stop.is_set():
                    self._change(State.READY, last_lines=())
                self.was_ready.set()
            self._bound_log()
            await asyncio.sleep(POLL_SECONDS.get(self.view.state, 1.0))

    async def _clear_away(self, session: int) -> None:
        """Kills what the process left behind, such as the stubs of Triton's Python backend."""
        left = await asyncio.to_thread(guard.kill, self._mark, (session,))
        if self.recipe.leaves:
            await asyncio.to_thread(guard.remove, self.recipe.leaves)
        if not left:
            self._announce(f"-{session}")

    def _bound_log(self) -> None:
        """Keeps the newest two lengths of log: one here and one in the file beside it."""
        log = self.view.log
        with suppress(OSError):
            if log.stat().st_size > LONGEST_LOG_BYTES:
                # The process goes on writing at the end, wherever that is: its descriptor appends.
                log.with_suffix(".log.1").write_bytes(log.read_bytes())
                os.truncate(log, 0)

    def _change(self, state: State, **changes: object) -> None:
        detail = changes.pop("detail", "")
        since = self.view.since if state is self.view.state else time.time()
        view = replace(self.view, state=state, detail=detail, since=since, **changes)  # type: ignore[arg-type]
        if view != self.view:
            self.view = view
            self._on_change(view)


def _ending(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
