"""`assay audit` and `assay review`: what was answered, and what waits for a person, through the public port."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from cli.audit_verify import verify
from cli.audit_witness import witness
from cli.client import PublicPort
from cli.folder import running_mesh
from cli.options import as_json, mesh_address
from cli.terminal import console

LIMIT = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many at most."
)


@click.group()
def audit() -> None:
    """Read the audit log: one event for each call, without its text."""


@click.group()
def review() -> None:
    """Read the review tasks: answers that the model was not sure of."""


audit.add_command(verify)
audit.add_command(witness)


@audit.command("list")
@click.option("--model", default="", help="Only this model.")
@click.option("--caller", default="", help="Only this caller.")
@click.option("--request-id", default="", help="Only calls with this request id.")
@LIMIT
@mesh_address
@as_json
def list_events(
    model: str, caller: str, request_id: str, limit: int, address: str | None, data: Path, json_: bool
) -> None:
    """List the newest audit events.

    \b
    assay audit list --model banking --limit 5
    """
    filters = {"model": model, "caller": caller, "request_id": request_id}
    found = _ask(address, data, lambda port: port.events(limit, **{k: v for k, v in filters.items() if v}))
    if json_:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    rows = [
        (
            event["event_id"],
            event["create_time"][:19].replace("T", " "),
            event["caller"],
            event["method"].rpartition("/")[2],
            f"{event['model']} {event['model_version']}".strip(),
            outcome(event),
        )
        for event in found
    ]
    _table(("audit id", "time (UTC)", "caller", "method", "model", "outcome"), rows)


@audit.command("show")
@click.argument("event_id")
@mesh_address
@as_json
def show_event(event_id: str, address: str | None, data: Path, json_: bool) -> None:
    """Show the audit event EVENT_ID, the audit_id of an answer."""
    found = _ask(address, data, lambda port: port.event(event_id))
    if not json_ and (hmac := found.get("input", {}).get("text_hmac")):
        found["input"]["text_hmac"] = base64.b64decode(hmac).hex()
    _show(found, json_)


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
    found = _ask(address, data, lambda port: port.tasks(limit, **{k: v for k, v in filters.items() if v}))
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
    _table(("task", "state", "model", "model's answer", "text"), rows)


@review.command("show")
@click.argument("task_id")
@mesh_address
@as_json
def show_task(task_id: str, address: str | None, data: Path, json_: bool) -> None:
    """Show the review task TASK_ID, the review_task_id of an answer."""
    _show(_ask(address, data, lambda port: port.task(task_id)), json_)


def outcome(event: Mapping[str, Any]) -> str:
    """Says in a few words how a call ended."""
    if "error" in event:
        return f"refused: {event['error'].get('reason', '').removeprefix('ERROR_REASON_')}"
    answer = event.get("answer", {})
    return f"{answer['label']} {float(answer['confidence']):.2f}" if answer.get("label") else "answered"


def _ask(address: str | None, data: Path, question: Callable[[PublicPort], Awaitable[Any]]) -> Any:
    async def ask() -> Any:
        async with PublicPort(address or running_mesh(data)["public"]) as port:
            return await question(port)

    return asyncio.run(ask())


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        made.add_column(heading, no_wrap=number == 0)
    for row in rows:
        made.add_row(*row)
    console().print(made if rows else "none", markup=False)


def _show(found: Mapping[str, Any], json_: bool) -> None:
    click.echo(json.dumps(found, ensure_ascii=False, indent=None if json_ else 2))
