"""`assay review`: what waits for a person; and how commands ask the public port and show what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from cli.client import PublicPort
from cli.folder import running_mesh
from cli.options import as_json, mesh_address
from cli.terminal import console

LIMIT = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many at most."
)


@click.group()
def review() -> None:
    """Read the review tasks: answers that the model was not sure of."""


@review.command("list")
@click.option("--model", default="", help="Only this model.")
@click.option("--industry", default="", help="Only this industry.")
@LIMIT
@mesh_address
@as_json
def list_tasks(model: str, industry: str, limit: int, address: str | None, data: Path, json_: bool) -> None:
    """List the newest review tasks.

    \b
    assay review list --industry finance
    """
    filters = {"model": model, "industry": industry}
    found = ask(address, data, lambda port: port.tasks(limit, **{k: v for k, v in filters.items() if v}))
    if json_:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    rows = [
        (
            task["task_id"],
            task["state"].removeprefix("TASK_STATE_").lower(),
            task["request"]["model"],
            f"{task['request']['label']} {float(task['request']['confidence']):.2f}",
            task["request"]["masked_text"],
        )
        for task in found
    ]
    table(("task", "state", "model", "model's answer", "text"), rows)


@review.command("show")
@click.argument("task_id")
@mesh_address
@as_json
def show_task(task_id: str, address: str | None, data: Path, json_: bool) -> None:
    """Show the review task TASK_ID, the review_task_id of an answer."""
    show(ask(address, data, lambda port: port.task(task_id)), json_)


def outcome(event: Mapping[str, Any]) -> str:
    """Says in a few words how a call ended."""
    if "action" in event:
        return f"done: {next(iter(event['action']), '').replace('_', ' ')}"
    if "error" in event:
        return f"refused: {event['error'].get('reason', '').removeprefix('ERROR_REASON_')}"
    answer = event.get("answer", {})
    return f"{answer['label']} {float(answer['confidence']):.2f}" if answer.get("label") else "answered"


def ask(address: str | None, data: Path, question: Callable[[PublicPort], Awaitable[Any]]) -> Any:
    """Returns the answer to a question to the public port. Raises CommandFailed."""

    async def asked() -> Any:
        async with PublicPort(address or running_mesh(data)["public"]) as port:
            return await question(port)

    return asyncio.run(asked())


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under their headings."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        made.add_column(heading, no_wrap=number == 0)
    for row in rows:
        made.add_row(*row)
    console().print(made if rows else "none", markup=False)


def show(found: Mapping[str, Any], json_: bool) -> None:
    """Prints what was found as JSON, for a person unless `json_`."""
    click.echo(json.dumps(found, ensure_ascii=False, indent=None if json_ else 2))
