from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.gateway.ports import Entry
from services.gateway.relay import Relay, RelayPace
from services.kernel.eventlog.port import Event, EventLogUnavailable
from services.kernel.identifiers import uuid7
from tests.fixtures.gateway.outbox import MemoryOutbox

PACE = RelayPace(batch=10, gather=0.0, first_pause=0.001, longest_pause=0.005)


class Log:
    """A publisher that keeps what it confirmed and can be away."""

    def __init__(self) -> None:
        self.confirmed: list[tuple[str, str]] = []
        self.away = 0
        self.lost_answers = 0
        self.calls = 0

    async def publish(self, topic: str, events: Sequence[Event]) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise EventLogUnavailable("as told")
        self.confirmed += [(topic, event.key) for event in events]
        if self.lost_answers:
            self.lost_answers -= 1
            raise EventLogUnavailable("confirmed, but nobody heard it")

    async def ping(self) -> None:
        """Always there."""

    async def close(self) -> None:
        """Nothing to close."""


def put(outbox: MemoryOutbox, *keys: str, topic: str = "audit") -> None:
    outbox.append([Entry(topic, Event(key, b"")) for key in keys])


async def until_empty(outbox: MemoryOutbox) -> None:
    async with asyncio.timeout(10):
        while outbox.depth:
            await asyncio.sleep(0.001)


async def test_events_go_in_order_topic_by_topic() -> None:
    outbox, log = MemoryOutbox(), Log()
    relay = Relay(outbox, log, PACE)
    put(outbox, *(f"{number:03}" for number in range(25)))
    put(outbox, "task", topic="review")
    await relay.drain()
    assert [key for topic, key in log.confirmed if topic == "audit"] == [f"{number:03}" for number in range(25)]
    assert ("review", "task") in log.confirmed
    assert outbox.depth == 0
    assert relay.delivered == 26
    assert log.calls == 4


async def test_a_backlog_leaves_as_much_time_as_it_takes() -> None:
    outbox, log = MemoryOutbox(), Log()
    relay = Relay(outbox, log, RelayPace(batch=10, gather=0.0, rest=1e9))
    put(outbox, *(f"{number:03}" for number in range(25)))
    task = asyncio.create_task(relay.run())
    relay.wake()
    async with asyncio.timeout(10):
        while relay.delivered < 10:
            await asyncio.sleep(0.001)
    for _ in range(20):
        await asyncio.sleep(0)
    assert relay.delivered == 10
    await relay.drain()  # at the end there is nobody to leave time for
    assert outbox.depth == 0
    task.cancel()


async def test_it_sleeps_until_woken() -> None:
    outbox, log = MemoryOutbox(), Log()
    relay = Relay(outbox, log, PACE)
    task = asyncio.create_task(relay.run())
    await asyncio.sleep(0.02)
    assert log.calls == 0
    put(outbox, "a")
    relay.wake()
    await until_empty(outbox)
    put(outbox, "b")
    relay.wake()
    await until_empty(outbox)
    task.cancel()
    assert [key for _, key in log.confirmed] == ["a", "b"]


async def test_nothing_is_forgotten_while_the_log_is_away() -> None:
    outbox, log = MemoryOutbox(), Log()
    relay = Relay(outbox, log, PACE)
    log.away = 5
    key = uuid7()
    put(outbox, key)
    task = asyncio.create_task(relay.run())
    while log.away > 2:
        await asyncio.sleep(0.001)
    assert outbox.depth == 1
    assert relay.oldest_ns is not None
    await until_empty(outbox)
    task.cancel()
    assert [key for _, key in log.confirmed] == [key]
    assert relay.failed_attempts == 5
    assert relay.oldest_ns is None


async def test_a_lost_confirmation_means_twice_and_not_never() -> None:
    outbox, log = MemoryOutbox(), Log()
    log.lost_answers = 1
    put(outbox, "a", "b")
    relay = Relay(outbox, log, PACE)
    await relay.drain()
    assert outbox.depth == 2
    await relay.drain()
    assert [key for _, key in log.confirmed] == ["a", "b", "a", "b"]


async def test_an_outbox_that_can_not_be_read_is_tried_again() -> None:
    outbox, log = MemoryOutbox(), Log()
    put(outbox, "a")
    outbox.broken = True
    relay = Relay(outbox, log, PACE)
    task = asyncio.create_task(relay.run())
    await asyncio.sleep(0.01)
    outbox.broken = False
    await until_empty(outbox)
    task.cancel()
    assert [key for _, key in log.confirmed] == ["a"]


async def test_what_the_outbox_can_not_forget_is_not_published_again() -> None:
    outbox, log = MemoryOutbox(), Log()
    put(outbox, "a", "b")
    relay = Relay(outbox, log, PACE)
    outbox.keeps = True
    await relay.drain()
    await relay.drain()
    assert outbox.depth == 2
    put(outbox, "c")
    outbox.keeps = False
    await relay.drain()
    assert outbox.depth == 0
    assert [key for _, key in log.confirmed] == ["a", "b", "c"]
    assert relay.delivered == 3
