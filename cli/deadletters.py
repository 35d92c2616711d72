"""`assay deadletters`: events that a consumer could not take, looked at and put back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.event_log import ask, event_log, url_of
from cli.failure import CommandFailed
from cli.options import Decorated, as_json
from cli.terminal import console

if TYPE_CHECKING:
    from services.kernel.eventlog.deadletters import Letter

_READER = "assay-deadletters"
_NAMES = ("audit", "review")
_TOPIC = click.option(
    "--topic", type=click.Choice(_NAMES), help="Only those of this topic: of audit events or of review requests."
)


def _on_topics(function: Decorated) -> Decorated:
    return _TOPIC(event_log(as_json(function)))


@click.group()
def deadletters() -> None:
    """Look at the events that a consumer could not take, and put them back once it can.

    \b
    assay deadletters list
    assay deadletters show 0197c9f2-...
    assay deadletters replay --key 0197c9f2-...
    assay deadletters replay --all --topic audit

    A letter stays until it is replayed. One that still can't be taken comes back, with its attempts counted.
    """


@deadletters.command("list")
@_on_topics
def list_letters(topic: str | None, event_log: str | None, data: Path, json_: bool) -> None:
    """List the dead letters, oldest first: where each came from and why it was refused."""
    found = ask(_read(url_of(event_log, data), topic))
    if json_:
        click.echo(json.dumps([_summary(letter) for letters in found.values() for letter in letters]))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("topic", "key", "put aside (UTC)", "attempts", "position", "reason"):
        table.add_column(heading, no_wrap=heading != "reason")
    for letters in found.values():
        for letter in letters:
            each = _summary(letter)
            when = each["create_time"][:19].replace("T", " ")
            table.add_row(each["topic"], each["key"], when, str(each["attempts"]), each["position"], each["reason"])
    if table.row_count:
        console().print(table)
    else:
        click.echo("no dead letters")


@deadletters.command()
@click.argument("key")
@_on_topics
def show(key: str, topic: str | None, event_log: str | None, data: Path, json_: bool) -> None:
    """Show the dead letters under KEY, with what can be read of their events."""
    found = ask(_read(url_of(event_log, data), topic))
    chosen = [letter for letters in found.values() for letter in letters if letter.content.key == key]
    if not chosen:
        raise CommandFailed(f"there is no dead letter under {key!r}; see: assay deadletters list")
    contents = [{**_summary(letter), **_event(letter)} for letter in chosen]
    click.echo(json.dumps(contents, ensure_ascii=False, indent=None if json_ else 2))


@deadletters.command()
@click.option("--key", "keys", multiple=True, help="Replay the letters under this key; may be given again.")
@click.option("--all", "all_", is_flag=True, help="Replay every letter.")
@_on_topics
def replay(
    keys: tuple[str, ...], all_: bool, topic: str | None, event_log: str | None, data: Path, json_: bool
) -> None:
    """Put events back into the topics that they came from; their letters go once the events are there.

    \b
    assay deadletters replay --key 0197c9f2-... --key 0197c9f3-...
    assay deadletters replay --all
    """
    if bool(keys) == all_:
        raise click.UsageError("say which: --key KEY or --all")
    url = url_of(event_log, data)
    wanted = set(keys)
    replayed, left = ask(_replay(url, topic, lambda letter: all_ or letter.content.key in wanted))
    if json_:
        click.echo(json.dumps({"replayed": replayed, "left": left}))
    else:
        click.echo(f"replayed {replayed}, left {left}")
    if not replayed and keys:
        raise CommandFailed("there is no dead letter under that key that can be replayed; see: assay deadletters list")


def _topics(topic: str | None) -> list[str]:
    from services.kernel.eventlog.port import AUDIT_TOPIC, REVIEW_TOPIC

    known = dict(zip(_NAMES, (AUDIT_TOPIC, REVIEW_TOPIC), strict=True))
    return [known[topic]] if topic else list(known.values())


async def _read(url: str, topic: str | None) -> dict[str, list[Letter]]:
    from services.kernel.eventlog import connections

    found = {}
    for name in _topics(topic):
        box = connections.dead_letters(url, name, _READER)
        try:
            found[name] = await box.read()
        finally:
            await box.close()
    return found


async def _replay(url: str, topic: str | None, chosen: Callable[[Letter], bool]) -> tuple[int, int]:
    from services.kernel.eventlog import connections

    replayed = seen = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        for name in _topics(topic):
            box = connections.dead_letters(url, name, _READER)
            try:
                letters = await box.read()
                seen += len(letters)
                if not any(map(chosen, letters)):
                    continue
                task = bar.add_task(name, total=len(letters))
                replayed += await box.replay(letters, chosen, lambda count, task=task: bar.advance(task, count))  # type: ignore[misc]
            finally:
                await box.close()
    return replayed, seen - replayed


def _summary(letter: Letter) -> dict[str, Any]:
    content = letter.content
    return {
        "topic": content.topic,
        "key": content.key,
        "reason": content.reason,
        "position": content.position,
        "group": content.group,
        "create_time": content.create_time.ToJsonString() if content.HasField("create_time") else "",
        "attempts": content.attempts,
        "payload_bytes": len(content.payload),
    }


def _event(letter: Letter) -> Mapping[str, Any]:
    """Returns the event where it can be read, else its bytes; the gateway masked it before it left."""
    from assay.audit.v1 import audit_pb2
    from assay.review.v1 import review_pb2
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError

    from services.kernel.eventlog.port import AUDIT_TOPIC, REVIEW_TOPIC

    kinds: dict[str, Any] = {AUDIT_TOPIC: audit_pb2.AuditEvent, REVIEW_TOPIC: review_pb2.ReviewRequested}
    kind = kinds.get(letter.content.topic)
    if kind is not None:
        try:
            return {"event": MessageToDict(kind.FromString(letter.content.payload), preserving_proto_field_name=True)}
        except (DecodeError, ValueError):
            pass
    return {"payload": base64.b64encode(letter.content.payload).decode()}
