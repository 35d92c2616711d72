from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from services.gateway.durability import Confirmed, Synced, Written, assure
from services.gateway.ports import Entry, OutboxUnavailable
from services.kernel.eventlog.port import Event, EventLogUnavailable
from tests.fixtures.gateway.outbox import MemoryOutbox

SECONDS = 0.05


def entry(key: str, topic: str = "audit") -> Entry:
    return Entry(topic, Event(key, key.encode()))


def keys(outbox: MemoryOutbox) -> list[str]:
    return [stored.entry.event.key for stored in outbox.head(1000)]


class Told:
    """Collects what is told of each key."""

    def __init__(self) -> None:
        self.kept: dict[str, bool] = {}
        self.changed = asyncio.Event()

    def of(self, key: str):  # type: ignore[no-untyped-def]
        def tell(kept: bool) -> None:
            assert key not in self.kept
            self.kept[key] = kept
            self.changed.set()

        return tell

    async def until(self, count: int) -> dict[str, bool]:
        async with asyncio.timeout(10):
            while len(self.kept) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.kept


class Log:
    """A publisher that confirms when it may, refuses as told, or never answers."""

    def __init__(self) -> None:
        self.rounds: list[list[str]] = []
        self.confirmed: list[str] = []
        self.may_confirm = asyncio.Event()
        self.may_confirm.set()
        self.away = False
        self.faulty = False
        self.stuck = False

    async def publish(self, topic: str, events: Sequence[Event]) -> None:
        self.rounds.append([event.key for event in events])
        await self.may_confirm.wait()
        if self.away:
            raise EventLogUnavailable("as told")
        if self.faulty:
            raise RuntimeError("as told")
        self.confirmed += [event.key for event in events]
        if self.stuck:
            await asyncio.Event().wait()

    async def ping(self) -> None:
        """Always there."""

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox()


@pytest.fixture
async def synced(outbox: MemoryOutbox) -> AsyncIterator[Synced]:
    synced = Synced(outbox, lambda: None)
    yield synced
    outbox.may_sync.set()
    await synced.close()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def confirmed(outbox: MemoryOutbox, synced: Synced, log: Log) -> Confirmed:
    return Confirmed(outbox, synced, log, SECONDS)


def test_what_is_written_is_told_at_once(outbox: MemoryOutbox) -> None:
    woken: list[int] = []
    written = Written(outbox, lambda: woken.append(1))
    told: list[bool] = []
    written.keep([entry("a")], told.append)
    outbox.broken = True
    written.keep([entry("b")], told.append)
    assert told == [True, False]
    assert woken == [1]
    outbox.broken = False
    assert keys(outbox) == ["a"]


async def test_nothing_is_told_before_its_sync_and_one_sync_serves_all_that_waited(
    outbox: MemoryOutbox, synced: Synced
) -> None:
    told = Told()
    outbox.may_sync.clear()
    synced.keep([entry("first")], told.of("first"))
    await asyncio.sleep(0.02)
    for number in range(50):
        synced.keep([entry(str(number))], told.of(str(number)))
    await asyncio.sleep(0.02)
    assert told.kept == {}
    assert outbox.depth == 51
    outbox.may_sync.set()
    assert all((await told.until(51)).values())
    assert outbox.synced == 51
    assert sum(synced.buckets) == 2


async def test_what_the_outbox_refuses_needs_no_sync(outbox: MemoryOutbox, synced: Synced) -> None:
    told = Told()
    outbox.broken = True
    synced.keep([entry("a")], told.of("a"))
    assert told.kept == {"a": False}
    outbox.broken = False
    synced.keep([entry("b")], told.of("b"))
    assert (await told.until(2))["b"]


async def test_a_failed_sync_refuses_all_that_waited_and_ends_the_process(outbox: MemoryOutbox, synced: Synced) -> None:
    told = Told()
    watch = asyncio.create_task(synced.watch())
    outbox.may_sync.clear()
    synced.keep([entry("a")], told.of("a"))
    await asyncio.sleep(0.02)
    outbox.broken = True
    outbox.may_sync.set()
    assert await told.until(1) == {"a": False}
    with pytest.raises(OutboxUnavailable):
        await watch


async def test_what_the_log_confirms_never_sees_the_outbox(
    outbox: MemoryOutbox, confirmed: Confirmed, log: Log
) -> None:
    told = Told()
    log.may_confirm.clear()
    confirmed.keep([entry("first"), entry("task", "review")], told.of("first"))
    await asyncio.sleep(0)
    for number in range(20):
        confirmed.keep([entry(str(number))], told.of(str(number)))
    assert told.kept == {}
    log.may_confirm.set()
    assert all((await told.until(21)).values())
    assert log.rounds == [["first"], ["task"], [str(number) for number in range(20)]]
    assert outbox.commits == []
    assert (confirmed.confirmed, confirmed.fallbacks, confirmed.away) == (22, 0, False)


@pytest.mark.parametrize("fault", ["away", "faulty", "stuck"])
async def test_without_a_confirmation_everything_goes_to_the_outbox_in_order(
    outbox: MemoryOutbox, confirmed: Confirmed, log: Log, fault: str
) -> None:
    told = Told()
    setattr(log, fault, True)
    confirmed.keep([entry("a")], told.of("a"))
    await asyncio.sleep(0)
    confirmed.keep([entry("b")], told.of("b"))
    assert await told.until(2) == {"a": True, "b": True}
    rounds = len(log.rounds)
    confirmed.keep([entry("c")], told.of("c"))
    assert await told.until(3) == {"a": True, "b": True, "c": True}
    assert keys(outbox) == ["a", "b", "c"]
    assert outbox.synced == 3
    assert len(log.rounds) == rounds
    assert (confirmed.away, confirmed.fallbacks) == (True, 3)


async def test_it_turns_back_to_the_log_when_the_outbox_is_empty(
    outbox: MemoryOutbox, confirmed: Confirmed, log: Log
) -> None:
    told = Told()
    log.away = True
    confirmed.keep([entry("a")], told.of("a"))
    await told.until(1)
    log.away = False
    confirmed.keep([entry("b")], told.of("b"))
    assert log.confirmed == []
    await told.until(2)
    outbox.discard(outbox.head(10)[-1].position)
    confirmed.keep([entry("c")], told.of("c"))
    assert (await told.until(3))["c"]
    assert log.confirmed == ["c"]
    assert not confirmed.away


async def test_neither_log_nor_outbox_is_a_refusal(outbox: MemoryOutbox, confirmed: Confirmed, log: Log) -> None:
    told = Told()
    log.away = outbox.broken = True
    confirmed.keep([entry("a")], told.of("a"))
    assert await told.until(1) == {"a": False}


async def test_closing_waits_for_what_was_begun(outbox: MemoryOutbox, log: Log) -> None:
    told = Told()
    assured = assure("broker", outbox, lambda: None, log, 10.0)
    log.may_confirm.clear()
    assured.durability.keep([entry("a")], told.of("a"))
    closing = asyncio.create_task(assured.durability.close())
    await asyncio.sleep(0.02)
    assert not closing.done()
    log.may_confirm.set()
    await closing
    assert told.kept == {"a": True}


@pytest.mark.parametrize("name", ["process", "fsync", "broker"])
async def test_each_durability_is_built_by_its_name(outbox: MemoryOutbox, log: Log, name: str) -> None:
    assured = assure(name, outbox, lambda: None, log, 1.0)
    assert assured.durability.name == name
    told = Told()
    assured.durability.keep([entry("a")], told.of("a"))
    assert await told.until(1) == {"a": True}
    await assured.durability.close()
