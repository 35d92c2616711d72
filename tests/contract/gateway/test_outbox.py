"""What every outbox must do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.gateway.adapters.outbox_sqlite import SqliteOutbox
from services.gateway.ports import Bookmark, Entry, Outbox, OutboxUnavailable
from services.kernel.eventlog.port import Event
from tests.fixtures.gateway.outbox import MemoryOutbox


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[int], Outbox]]:
    made: list[Outbox] = []

    def make(max_events: int) -> Outbox:
        path = tmp_path / f"outbox{len(made)}.sqlite3"
        made.append(
            MemoryOutbox(max_events) if request.param == "memory" else SqliteOutbox(path, max_events=max_events)
        )
        return made[-1]

    yield make
    for outbox in made:
        outbox.close()


@pytest.fixture
def outbox(make: Callable[[int], Outbox]) -> Outbox:
    return make(1000)


def entries(*keys: str, topic: str = "audit") -> list[Entry]:
    return [Entry(topic, Event(key, key.encode() * 3)) for key in keys]


def keys(outbox: Outbox, limit: int = 100) -> list[str]:
    return [stored.entry.event.key for stored in outbox.head(limit)]


def test_what_goes_in_comes_out_in_order(outbox: Outbox) -> None:
    outbox.append(entries("a"))
    outbox.append(entries("b", "c", topic="review"))
    stored = outbox.head(10)
    assert [item.entry for item in stored] == entries("a") + entries("b", "c", topic="review")
    assert [item.position for item in stored] == sorted({item.position for item in stored})
    assert outbox.depth == 3
    assert keys(outbox, 2) == ["a", "b"]


def test_discarding_forgets_up_to_a_position_and_nothing_behind(outbox: Outbox) -> None:
    outbox.append(entries("a", "b", "c"))
    outbox.discard(outbox.head(2)[-1].position)
    assert keys(outbox) == ["c"]
    assert outbox.depth == 1
    outbox.append(entries("d"))
    assert keys(outbox) == ["c", "d"]
    outbox.discard(outbox.head(10)[-1].position)
    assert outbox.head(10) == []
    assert outbox.depth == 0


def test_an_empty_one_takes_again(outbox: Outbox) -> None:
    for key in "abc":
        outbox.append(entries(key))
        outbox.discard(outbox.head(1)[0].position)
    outbox.append(entries("d", "e"))
    assert keys(outbox) == ["d", "e"]


def test_nothing_is_fine_too(outbox: Outbox) -> None:
    outbox.append([])
    assert outbox.depth == 0
    outbox.check()


def test_a_full_one_refuses_until_there_is_room(make: Callable[[int], Outbox]) -> None:
    outbox = make(2)
    outbox.append(entries("a", "b"))
    assert outbox.full
    with pytest.raises(OutboxUnavailable):
        outbox.append(entries("c"))
    with pytest.raises(OutboxUnavailable):
        outbox.check()
    assert keys(outbox) == ["a", "b"]
    outbox.discard(outbox.head(1)[0].position)
    assert not outbox.full
    outbox.append(entries("c"))
    assert keys(outbox) == ["b", "c"]
    outbox.discard(outbox.head(2)[-1].position)
    outbox.check()


def test_a_bookmark_moves_with_its_events(outbox: Outbox) -> None:
    assert outbox.bookmark("edge") is None
    outbox.append(entries("a"), Bookmark("edge", 7, 100))
    outbox.append([], Bookmark("other", 1, 1))
    outbox.append(entries("b"), Bookmark("edge", 7, 200))
    assert outbox.bookmark("edge") == Bookmark("edge", 7, 200)
    assert outbox.bookmark("other") == Bookmark("other", 1, 1)
    assert keys(outbox) == ["a", "b"]


def test_a_refused_bookmark_stays_where_it_was(make: Callable[[int], Outbox]) -> None:
    outbox = make(1)
    outbox.append(entries("a"), Bookmark("edge", 7, 100))
    with pytest.raises(OutboxUnavailable):
        outbox.append(entries("b"), Bookmark("edge", 7, 200))
    assert outbox.bookmark("edge") == Bookmark("edge", 7, 100)


async def test_tending_changes_nothing_that_can_be_seen(outbox: Outbox) -> None:
    outbox.append(entries("a", "b"))
    await outbox.tend()
    assert keys(outbox) == ["a", "b"]


def test_it_knows_its_size(outbox: Outbox) -> None:
    assert outbox.size == 0
    outbox.append(entries("a", "bc"))
    assert outbox.size == 9
    outbox.discard(outbox.head(1)[0].position)
    assert outbox.size == 6


def test_a_full_one_is_refusing_too(make: Callable[[int], Outbox]) -> None:
    outbox = make(1)
    assert not outbox.refusing
    outbox.append(entries("a"))
    assert outbox.refusing


async def test_it_is_synced_from_another_thread_between_commits(outbox: Outbox) -> None:
    outbox.append(entries("a"))
    syncing = asyncio.ensure_future(asyncio.to_thread(outbox.sync))
    outbox.append(entries("b"))
    await syncing
    assert keys(outbox) == ["a", "b"]
