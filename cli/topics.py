"""`assay topics`: the topics of the event log, created with their settings and compared with them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from cli.event_log import ask, event_log, url_of
from cli.options import as_json
from cli.terminal import console

if TYPE_CHECKING:
    from services.kernel.eventlog.topics import Topic


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it is."""

    topic: str
    there: bool
    partitions: int | None
    """None on Redis Streams, which has none."""
    kept: str
    """How long or how many, in words."""
    group: str
    """Who consumes it; empty: nobody does all the time."""
    waiting: int | None
    """Events, or dead letters, that the group has not committed; None where there is no group or no topic."""
    differences: tuple[str, ...]
    """What is not as it should be."""


@click.group()
def topics() -> None:
    """Create the topics of the event log and see how they are.

    \b
    assay topics list
    assay topics create --event-log kafka://broker-1:9092,broker-2:9092
    """


@topics.command("list")
@event_log
@as_json
def list_topics(event_log: str | None, data: Path, json_: bool) -> None:
    """List the topics: their partitions, what waits in them, and what is not as it should be."""
    _show(ask(_look(url_of(event_log, data))), json_)


@topics.command()
@click.option("--repair", is_flag=True, help="Also give those that are there their settings, and partitions they lack.")
@event_log
@as_json
def create(repair: bool, event_log: str | None, data: Path, json_: bool) -> None:
    """Create the topics that are missing, with their settings; one that is there is left as it is, and compared.

    Run it again whenever you like. On Redis Streams a topic comes into being with its first event, so there is nothing
    to create. How many replicas a topic has is the brokers' default.

    \b
    assay topics create --event-log kafka://broker-1:9092
    assay topics create --repair
    """
    url = url_of(event_log, data)
    created = ask(_create(url, repair))
    if not json_:
        click.echo(f"created: {', '.join(created)}" if created else "nothing to create")
    _show(ask(_look(url)), json_, created)


async def _create(url: str, repair: bool) -> list[str]:
    from services.kernel.eventlog import connections
    from services.kernel.eventlog.topics import TOPICS

    if not connections.is_kafka(url):
        return []
    from services.kernel.eventlog import kafka_topics

    brokers = connections.brokers(url)
    created = await asyncio.to_thread(kafka_topics.create, brokers, TOPICS)
    if repair:
        await asyncio.to_thread(kafka_topics.repair, brokers, TOPICS)
    return created


async def _look(url: str) -> list[Found]:
    from services.kernel.eventlog import connections
    from services.kernel.eventlog.topics import TOPICS

    if not connections.is_kafka(url):
        return [Found(t.name, True, None, _kept(t, False), t.group, await _waiting(url, t), ()) for t in TOPICS]
    from services.kernel.eventlog import kafka_topics

    there = await asyncio.to_thread(kafka_topics.describe, connections.brokers(url), TOPICS)
    found = []
    for topic in TOPICS:
        if topic.name not in there:
            found.append(Found(topic.name, False, None, _kept(topic, True), topic.group, None, ("it is missing",)))
            continue
        partitions, settings = there[topic.name]
        wanted = kafka_topics.settings_on_kafka(topic)
        wrong = [f"{key} is {settings[key]}, should be {wanted[key]}" for key in wanted if settings[key] != wanted[key]]
        if partitions != topic.partitions:
            wrong.append(f"{partitions} partitions, should be {topic.partitions}")
        waiting = await _waiting(url, topic)
        found.append(Found(topic.name, True, partitions, _kept(topic, True), topic.group, waiting, tuple(wrong)))
    return found


async def _waiting(url: str, topic: Topic) -> int | None:
    from services.kernel.eventlog import connections

    if not topic.group:
        return None
    subscription = connections.subscription(url, topic.name, topic.group, "assay-topics")
    try:
        return await subscription.lag()
    finally:
        await subscription.close()


def _kept(topic: Topic, kafka: bool) -> str:
    if kafka and topic.retention_days is not None:
        return f"{topic.retention_days} days"
    if not kafka and topic.entries_kept is not None:
        return f"the newest {topic.entries_kept:,}"
    return "until consumed"


def _show(found: list[Found], json_: bool, created: list[str] | None = None) -> None:
    if json_:
        made = {} if created is None else {"created": created}
        click.echo(json.dumps({**made, "topics": [asdict(each) for each in found]}))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("topic", "partitions", "kept", "group", "waiting", ""):
        table.add_column(heading, no_wrap=bool(heading))
    for each in found:
        known = [
            "-" if value is None else f"{value:,}" if isinstance(value, int) else value or "-"
            for value in (each.partitions, each.kept, each.group, each.waiting)
        ]
        table.add_row(each.topic, *known, Text("; ".join(each.differences), style="red"))
    console().print(table)
