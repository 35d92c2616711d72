"""A whole mesh on one machine: every part started, watched, started again and stopped.

    async with Mesh(Path(".assay"), port=8080) as mesh:
        await mesh.ready()
        ...  # mesh.address answers gRPC, gRPC-Web and REST

Enter it in the main thread: the kernel kills a part when the thread that started it ends.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from cli import guard
from cli.failure import CommandFailed
from cli.folder import DataFolder
from cli.part import Part, Recipe, State, View
from cli.parts import GATEWAY, KAFKA, MODELS, VALKEY, Plan, hosted_by, recipes
from cli.ports import LOOPBACK, public_port

READY_SECONDS = 180.0
STILLBORN = 3
"""After how many deaths before it was ever ready a part counts as unable to start."""


class Mesh:
    """The parts of one data folder. Use it as an asynchronous context manager; leaving it stops everything.

    Entering raises CommandFailed where the folder is in use or can't be written to, the port is taken, or something
    that the parts need is not installed.
    """

    def __init__(
        self,
        data: Path,
        port: int = 0,
        *,
        models: Path = MODELS,
        host: str = "auto",
        kafka: bool = False,
        settings: Mapping[str, Mapping[str, str]] | None = None,
        on_change: Callable[[View], None] = lambda view: None,
    ) -> None:
        """
        Args:
            data: everything that the mesh keeps; made when missing.
            port: the public port of 127.0.0.1; 0 for a free one.
            models: the folder of the models that ship.
            host: "auto", "envoy" or "aio", for the gateway.
            kafka: whether Kafka is the event log, in place of Valkey; needs Java and, at the first start, Maven.
            settings: further settings by part, {"gateway": {"CONFIDENCE_THRESHOLD": "0.9"}}, without the prefix ASSAY_.
            on_change: called with the new view of a part after each change.
        """
        self.folder = DataFolder(data)
        self.parts: dict[str, Part] = {}
        self.address = f"{LOOPBACK}:{port}"
        self.host = ""
        """What hosts the gateway: "envoy" with the code inside it, "aio" with an Envoy before it, "" while unknown."""
        self.host_reason = ""
        self._port = port
        self._models = models
        self._host = host
        self._kafka = kafka
        self._settings = settings or {}
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.id = secrets.token_hex(8)
        self._guard: subprocess.Popen[bytes] | None = None
        self._started = time.time()

    async def __aenter__(self) -> Mesh:
        self.folder.take()
        try:
            known = self.folder.read_mesh() or {}
            if previous := known.get("id"):  # whose guard may have been killed too
                await asyncio.to_thread(guard.kill, f"{previous}/")
            self._port = public_port(self._port)
            self.address = f"{LOOPBACK}:{self._port}"
            self.folder.keys.make()
            if self._kafka:
                await asyncio.to_thread(_require_kafka)
            plan = Plan(self.folder, self._port, self._models, self._host, self._settings, self._kafka)
            self._build(recipes(plan))
            self._start_guard()
            self._write()
            self._tasks = [asyncio.create_task(self._supervise(part)) for part in self.parts.values()]
            for task in self._tasks:
                task.add_done_callback(lambda _: self._changed.set())
        except BaseException as error:
            await self._close()
            if isinstance(error, OSError):
                raise CommandFailed(f"can't write to the data folder {self.folder.path}: {error.strerror}") from None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        """Returns when every part is ready at the same time.

        Raises:
            CommandFailed: a part died three times before it was ever ready, or the time is over.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while not all(part.view.state is State.READY for part in self.parts.values()):
                    self._changed.clear()
                    for part in self.parts.values():
                        if part.view.restarts >= STILLBORN and not part.was_ready.is_set():
                            raise self._failure(part)
                    for task in self._tasks:
                        if task.done():
                            task.result()
                    await self._changed.wait()
        except TimeoutError:
            late = next(part for part in self.parts.values() if part.view.state is not State.READY)
            raise self._failure(late, f" after {timeout_seconds:g} s") from None

    @property
    def event_log(self) -> str:
        """The URL of the event log, as ASSAY_EVENT_LOG takes it; empty before the parts are known."""
        if log := self.parts.get(KAFKA):
            return f"kafka://{log.recipe.address}"
        return f"redis://{self.parts[VALKEY].recipe.address}/0" if VALKEY in self.parts else ""

    async def hold(self, name: str) -> None:
        """Kills a part as kill -9 does and keeps it down; for tests and benchmarks. Returns when it is down."""
        await self.parts[name].hold()

    def release(self, name: str) -> None:
        """Lets a held part start again; `ready` returns when it is there."""
        self.parts[name].release()

    async def failed(self) -> None:
        """Returns never; raises when the supervision itself breaks."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)  # leaves them alone if cancelled
        for task in done:
            task.result()
        await asyncio.Event().wait()

    def _build(self, made: Sequence[Recipe]) -> None:
        for recipe in made:
            log = self.folder.logs / f"{recipe.name}.log"
            mark = f"{self.id}/{recipe.name}/"
            self.parts[recipe.name] = Part(recipe, log, mark, self._part_changed, self._announce)

    async def _supervise(self, part: Part) -> None:
        for name in part.recipe.needs:
            await self.parts[name].was_ready.wait()
        await part.run()

    async def _close(self) -> None:
        """Stops the parts, those that others need last, and lets go of the folder."""
        tasks = dict(zip(self.parts, self._tasks, strict=False))
        left = dict(self.parts)
        while left:
            needed = {name for part in left.values() for name in part.recipe.needs}
            turn = [part for name, part in left.items() if name not in needed]
            for part in turn:
                if part.view.state is State.WAITING and part.recipe.name in tasks:
                    tasks[part.recipe.name].cancel()
                del left[part.recipe.name]
            await asyncio.gather(*(part.stop() for part in turn))
            await asyncio.gather(
                *(tasks[part.recipe.name] for part in turn if part.recipe.name in tasks), return_exceptions=True
            )
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            await asyncio.to_thread(self._guard.wait)
        self.folder.release()

    def _start_guard(self) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, f"{self.id}/"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def _announce(self, line: str) -> None:
        """Tells the guard of a session that began (+) or ended (-), or of files to remove at the end (*)."""
        if self._guard is not None and self._guard.stdin is not None:
            with suppress(BrokenPipeError):
                self._guard.stdin.write(line.encode() + b"\n")

    def _part_changed(self, view: View) -> None:
        self._changed.set()
        if view.name == GATEWAY and view.state is State.READY:
            self.host, self.host_reason = hosted_by(self.folder)
        with suppress(OSError):  # a full disk must not stop the supervision
            self._write()
        self._on_change(view)

    def _write(self) -> None:
        self.folder.write_mesh(
            {
                "id": self.id,
                "pid": os.getpid(),
                "guard": self._guard.pid if self._guard is not None else None,
                "public": self.address,
                "host": self.host,
                "host_reason": self.host_reason,
                "event_log": self.event_log,
                "started": self._started,
                "models": str(self._models),
                "parts": {
                    name: {
                        "pid": part.view.pid,
                        "address": part.view.address,
                        "metrics": part.view.metrics,
                        "state": part.view.state,
                        "since": part.view.since,
                        "restarts": part.view.restarts,
                        "detail": part.view.detail,
                        "last_lines": part.view.last_lines,
                        "log": str(part.view.log),
                    }
                    for name, part in self.parts.items()
                },
            }
        )

    def _failure(self, part: Part, when: str = "") -> CommandFailed:
        lines = part.last_log_lines()
        words = (
            f"{part.recipe.name} is not ready{when}: {part.view.detail or part.view.state}; its log is {part.view.log}"
        )
        return CommandFailed("\n  ".join([words, *lines]), part=part.recipe.name, log=str(part.view.log), lines=lines)


def _require_kafka() -> None:
    """Raises CommandFailed where Kafka can't be had, before anything is started; fetches it the first time."""
    from cli import kafka

    try:
        kafka.find_java()
        kafka.fetch()
    except kafka.KafkaMissing as error:
        raise CommandFailed(f"{error}; or leave out --kafka: Valkey carries the events then") from None
