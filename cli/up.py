"""`assay up`: the mesh, kept running, with a live picture of it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.mesh import Mesh
from cli.options import Decorated, as_json, data_folder
from cli.part import State, View
from cli.parts import MODELS
from cli.terminal import console

COLOURS = {
    State.READY: "green",
    State.STARTING: "cyan",
    State.WAITING: "dim",
    State.STOPPING: "dim",
    State.STOPPED: "dim",
    State.UNHEALTHY: "yellow",
    State.RESTARTING: "yellow",
    State.FAILING: "bold red",
    State.HELD: "dim",
}
SAMPLE = "I lost my card and need a new one"


_MODELS = click.option(
    "--models",
    type=click.Path(path_type=Path, file_okay=False),
    default=MODELS,
    show_default="the models that ship",
    help="The folder of model bundles.",
)
_HOST = click.option(
    "--host",
    type=click.Choice(["auto", "envoy", "aio"]),
    default="auto",
    show_default=True,
    help="What hosts the gateway: Envoy with the code inside it, or grpc.aio behind Envoy.",
)


def mesh_makeup(function: Decorated) -> Decorated:
    """Adds --models and --host, as `models: Path` and `host: str`; for commands that start a mesh."""
    return _MODELS(_HOST(function))


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Public; 0 for a free one."
)
@mesh_makeup
@click.option(
    "--kafka",
    is_flag=True,
    help="Apache Kafka carries the events, instead of Valkey; needs Java 17, at first Maven too.",
)
@data_folder
@as_json
def up(port: int, models: Path, host: str, kafka: bool, data: Path, json_: bool) -> None:
    """Start the mesh and keep it running; what dies is started again. Ctrl-C stops everything.

    \b
    assay up
    assay up --port 9090 --data .assay-two      a second mesh beside the first
    assay up --kafka                            with Kafka as the event log
    assay up --json | jq .                      one line for each change
    """
    asyncio.run(_up(port, models, host, kafka, data, json_))


async def _up(port: int, models: Path, host: str, kafka: bool, data: Path, json_: bool) -> None:
    told = told_to_stop()
    screen = screen_of(json_)
    with screen:
        async with Mesh(data, port, models=models, host=host, kafka=kafka, on_change=screen.changed) as mesh:
            screen.mesh = mesh
            ready = asyncio.create_task(mesh.ready())
            if await first_of(ready, told):
                screen.ready(mesh)
                await first_of(asyncio.create_task(mesh.failed()), told)
            screen.stopping()
    screen.stopped()


def told_to_stop() -> asyncio.Task[bool]:
    """Returns a task that ends at the first SIGINT, SIGTERM or SIGHUP; a second one ends the process at once.

    At once is safe: the mesh's guard kills what is left.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def tell() -> None:
        if told.is_set():
            raise KeyboardInterrupt
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, tell)
    return asyncio.create_task(told.wait())


async def first_of(work: asyncio.Task[Any], told: asyncio.Task[bool]) -> bool:
    """Returns whether `work` ended before the person said stop, and raises what it raised; ends it otherwise."""
    await asyncio.wait((work, told), return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()
        return True
    work.cancel()
    return False


class Screen:
    """What the person sees. This one prints a line for each change."""

    mesh: Mesh | None = None

    def __init__(self) -> None:
        self._console = console()
        self._shown: dict[str, State] = {}

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def changed(self, view: View) -> None:
        """A part has a new view."""
        if self._shown.get(view.name) is view.state:
            return
        self._shown[view.name] = view.state
        where = f"{view.address} pid {view.pid}" if view.pid else ""
        words = [time.strftime("%H:%M:%S"), f"{view.name:<10}", f"{view.state:<10}", where, view.detail]
        self._console.print(" ".join(word for word in words if word).rstrip(), markup=False, soft_wrap=True)
        if view.state is State.FAILING:
            for line in (*view.last_lines, f"the whole log: {view.log}"):
                self._console.print(f"         {line}", markup=False, soft_wrap=True)

    def ready(self, mesh: Mesh) -> None:
        """Everything is ready."""
        for name, value in whereabouts(mesh):
            self._console.print(f"{name:<16}{value}".rstrip(), markup=False, soft_wrap=True)

    def stopping(self) -> None:
        """The person said stop."""

    def stopped(self) -> None:
        """Nothing runs any more."""
        self._console.print("all stopped")


class JsonScreen(Screen):
    """One JSON object a line."""

    def changed(self, view: View) -> None:
        content = {key: getattr(view, key) for key in ("name", "state", "address", "metrics", "pid", "restarts")}
        why = {"detail": view.detail, "last_lines": view.last_lines}
        self._print({"event": "part", **content, "since": view.since, **why, "log": str(view.log)})

    def ready(self, mesh: Mesh) -> None:
        self._print({"event": "ready", **(mesh.folder.read_mesh() or {})})

    def stopping(self) -> None:
        self._print({"event": "stopping"})

    def stopped(self) -> None:
        self._print({"event": "stopped"})

    def _print(self, content: dict[str, Any]) -> None:
        click.echo(json.dumps(content))
        sys.stdout.flush()


class LiveScreen(Screen):
    """A table that changes in place, on a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._note: RenderableType = Text("starting; the first answer takes some seconds", style="dim")
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def changed(self, view: View) -> None:
        """The next refresh shows it."""

    def ready(self, mesh: Mesh) -> None:
        self._note = _grid(whereabouts(mesh))

    def stopping(self) -> None:
        self._note = Text("stopping; Ctrl-C again to stop at once", style="dim")

    def _render(self) -> RenderableType:
        parts = [part.view for part in self.mesh.parts.values()] if self.mesh else []
        failing = [
            Text(f"  {line}", style="red", overflow="ellipsis", no_wrap=True)
            for view in parts
            if view.last_lines
            for line in (f"{view.name} keeps dying; the end of {view.log}:", *view.last_lines)
        ]
        return Group(table(parts), *failing, self._note)


def screen_of(json_: bool) -> Screen:
    """Returns the screen that suits where the output goes."""
    if json_:
        return JsonScreen()
    return LiveScreen() if sys.stdout.isatty() else Screen()


def table(views: Iterable[View]) -> Table:
    """The parts and how they are."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("part", "state", "address", "pid", "restarts", "since"):
        made.add_column(heading, no_wrap=True)
    made.add_column("")
    for view in views:
        made.add_row(
            view.name,
            Text(view.state, style=COLOURS[view.state]),
            view.address,
            str(view.pid or "-"),
            str(view.restarts),
            _ago(time.time() - view.since),
            Text(view.detail, style="dim", overflow="ellipsis"),
        )
    return made


def whereabouts(mesh: Mesh) -> list[tuple[str, str]]:
    """Where everything is, and what to type: headings and values."""
    data = "" if mesh.folder.path == Path.cwd() / ".assay" else f" --data {mesh.folder.path}"
    return [
        ("gRPC, gRPC-Web", f"{mesh.address}   (host: {mesh.host or 'unknown'})"),
        ("REST", f"http://{mesh.address}/v1/ai-services/text-classification"),
        ("documentation", f"http://{mesh.address}/docs"),
        ("logs", str(mesh.folder.logs)),
        ("", ""),
        ("try", f'assay classify "{SAMPLE}" --model banking{data}'),
        ("", f'curl -d \'{{"text":"{SAMPLE}"}}\' http://{mesh.address}/v1/ai-services/text-classification'),
        (
            "",
            f'grpcurl -plaintext -d \'{{"text":"{SAMPLE}"}}\' {mesh.address} assay.ai.v1.AIService/ClassifyText',
        ),
        ("stop", "Ctrl-C"),
    ]


def _grid(rows: Iterable[tuple[str, str]]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, Text(value))
    return Group(Text(), grid)


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
