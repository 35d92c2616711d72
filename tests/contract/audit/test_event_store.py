"""What every store of audit events promises, run on the one in memory and on SQLite."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.audit.adapters.sqlite import SqliteEventStore, page_query
from services.audit.events import EventQuery, EventRecord
from services.audit.ports import EventStore
from services.kernel.stores import DeadLetter, Stored
from tests.fixtures.stores import MemoryEventStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    made: EventStore = MemoryEventStore() if request.param == "memory" else SqliteEventStore(tmp_path / "a.sqlite3")
    yield made
    await made.close()


def records(count: int, seed: int = 0) -> list[EventRecord]:
    """Records whose times repeat and do not follow their ids."""
    chance = random.Random(seed)
    return [
        EventRecord(
            f"e{number:04}",
            chance.randint(0, count // 2) * 10**9 + 1,
            chance.choice("ab"),
            f"r{chance.randint(0, 5)}",
            chance.choice(["banking", "intent", ""]),
            chance.randbytes(20),
        )
        for number in range(count)
    ]


def newest_first(held: list[EventRecord]) -> list[EventRecord]:
    return sorted(held, key=lambda record: (record.create_time, record.event_id), reverse=True)


async def test_event_is_kept_as_it_was(store: EventStore) -> None:
    [record] = records(1)
    assert await store.get(record.event_id) is None
    assert await store.put([record]) == [Stored.NEW]
    assert await store.get(record.event_id) == record
    assert await store.get("") is None


async def test_empty_put_is_nothing(store: EventStore) -> None:
    assert await store.put([]) == []


async def test_repeat_changes_nothing_and_conflict_neither(store: EventStore) -> None:
    first, second = records(2)
    other = replace(first, event=b"other")
    assert await store.put([first, first]) == [Stored.NEW, Stored.REPEAT]
    assert await store.put([first, second, other]) == [Stored.REPEAT, Stored.NEW, Stored.CONFLICT]
    assert await store.get(first.event_id) == first
    assert len(await store.page(EventQuery(), None, 10)) == 2


@pytest.mark.parametrize(
    "query",
    [
        EventQuery(),
        EventQuery(caller="a"),
        EventQuery(request_id="r3"),
        EventQuery(model="banking"),
        EventQuery(start=10 * 10**9 + 1, end=40 * 10**9 + 1),
        EventQuery(caller="b", model="intent", start=5, end=60 * 10**9),
        EventQuery(caller="nobody"),
        EventQuery(start=-(2**63), end=2**63 - 1),
    ],
)
async def test_pages_are_newest_first_and_complete(store: EventStore, query: EventQuery) -> None:
    held = records(120)
    await store.put(held)
    wanted = [
        record
        for record in newest_first(held)
        if query.caller in (None, record.caller)
        and query.request_id in (None, record.request_id)
        and query.model in (None, record.model)
        and (query.start is None or query.start <= record.create_time)
        and (query.end is None or record.create_time < query.end)
    ]
    got: list[EventRecord] = []
    while page := await store.page(query, (got[-1].create_time, got[-1].event_id) if got else None, 7):
        assert len(page) <= 7
        got += page
    assert got == wanted


async def test_page_goes_on_where_it_was_although_newer_events_come(store: EventStore) -> None:
    old = records(10)
    await store.put(old)
    first = await store.page(EventQuery(), None, 4)
    await store.put([replace(record, event_id="n" + record.event_id, create_time=10**12) for record in old])
    rest = await store.page(EventQuery(), (first[-1].create_time, first[-1].event_id), 100)
    assert [*first, *rest] == newest_first(old)


async def test_dead_letters_and_ping(store: EventStore) -> None:
    letter = DeadLetter("t", "k", b"\xff", "why")
    await store.bury([letter])
    await store.bury([letter])
    await store.ping()
    assert await store.page(EventQuery(), None, 10) == []


async def test_what_is_kept_survives_a_restart(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "a.sqlite3")
    held = records(3)
    await store.put(held)
    await store.close()
    store = SqliteEventStore(tmp_path / "a.sqlite3")
    assert await store.page(EventQuery(), None, 10) == newest_first(held)
    await store.close()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (EventQuery(), "events_by_time"),
        (EventQuery(start=1, end=2), "events_by_time"),
        (EventQuery(caller="a", end=2), "events_by_caller"),
        (EventQuery(request_id="a"), "events_by_request"),
        (EventQuery(model="a", start=1), "events_by_model"),
    ],
)
@pytest.mark.parametrize("after", [None, (5, "e")])
async def test_every_filter_has_its_index(
    tmp_path: Path, query: EventQuery, index: str, after: tuple[int, str] | None
) -> None:
    store = SqliteEventStore(tmp_path / "a.sqlite3")
    await store.ping()
    await store.close()
    statement, values = page_query(query, after, 10)
    connection = sqlite3.connect(tmp_path / "a.sqlite3")
    plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))
    connection.close()
    assert index in plan
    assert "TEMP B-TREE" not in plan
