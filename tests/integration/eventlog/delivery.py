"""What the tests of both logs share: the topic, and a log that is killed while events are published and consumed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from services.kernel.eventlog.port import Event, EventLogUnavailable, Publisher, Subscription
from services.kernel.identifiers import uuid7
from tests.fixtures.publishing import publish_surely

TOPIC = "assay.test.v1"
_EVENTS = 300


@contextmanager
def unavailable() -> Iterator[None]:
    with pytest.raises(EventLogUnavailable):
        yield


@dataclass
class Delivered:
    """The keys of events whose publication was confirmed and of events that came, and how often consuming failed."""

    confirmed: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    failures: int = 0


async def deliver_over_kills(
    publisher: Publisher, subscription: Subscription, restart: Callable[[], None], after: Sequence[int]
) -> Delivered:
    """Publishes events one by one and consumes them until all came; kills the log each time that so many are confirmed.

    `restart` is called on another thread: it kills the log and starts it again.
    """
    delivered = Delivered()
    sending = True

    async def publish() -> None:
        nonlocal sending
        for _ in range(_EVENTS):
            event = Event(uuid7(), b"payload")
            await publish_surely(publisher, TOPIC, [event])
            delivered.confirmed.add(event.key)
        sending = False

    async def consume() -> None:
        while sending or not delivered.confirmed <= set(delivered.done):
            try:
                batch = await subscription.poll(20, 0.1)
                delivered.done.extend(delivery.event.key for delivery in batch)
                # May fail after it took effect; what it commits was done before, as it is in a real consumer.
                await subscription.commit(batch)
            except EventLogUnavailable:
                delivered.failures += 1
                await asyncio.sleep(0.02)

    async def kill() -> None:
        for reached in after:
            while len(delivered.confirmed) < reached:  # the count is what is waited for
                await asyncio.sleep(0.002)
            await asyncio.to_thread(restart)

    async with asyncio.timeout(150), asyncio.TaskGroup() as group:
        for task in (publish, consume, kill):
            group.create_task(task())
    return delivered
