"""The event log in memory: for fast tests, with the same promises as the real ones as long as the process lives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.kernel.eventlog.port import Delivery, Event, EventLogUnavailable


@dataclass(slots=True)
class _Taken:
    """An event that a consumer took and has not committed."""

    consumer: str
    taken_at: float
    attempt: int


@dataclass(slots=True)
class _Group:
    next_index: int = 0
    taken: dict[int, _Taken] = field(default_factory=dict)


class MemoryLog:
    """The log itself. Publishers and subscriptions that it makes share it; setting `down` makes all of them fail."""

    def __init__(self) -> None:
        self.down = False
        self._topics: dict[str, list[Event]] = {}
        self._groups: dict[tuple[str, str], _Group] = {}
        self._arrival = asyncio.Event()

    def publisher(self) -> MemoryPublisher:
        return MemoryPublisher(self)

    def subscription(
        self, topic: str, group: str, consumer: str, *, claim_idle_seconds: float = 30.0
    ) -> MemorySubscription:
        return MemorySubscription(self, topic, group, consumer, claim_idle_seconds)

    def events(self, topic: str) -> list[Event]:
        """Returns everything that was ever published to the topic, in order."""
        return list(self._topics.get(topic, []))

    def require_up(self) -> None:
        """Raises EventLogUnavailable while the log is down."""
        if self.down:
            raise EventLogUnavailable("down")

    def append(self, topic: str, events: Sequence[Event]) -> None:
        """Appends to a topic and wakes whoever waits for it."""
        self._topics.setdefault(topic, []).extend(events)
        self._arrival.set()
        self._arrival = asyncio.Event()

    async def arrival(self, timeout_seconds: float) -> bool:
        """Waits for the next append to any topic; False when there was none within the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._arrival.wait()
        except TimeoutError:
            return False
        return True

    def group(self, topic: str, name: str) -> _Group:
        return self._groups.setdefault((topic, name), _Group())

    def topic(self, name: str) -> list[Event]:
        return self._topics.setdefault(name, [])


class MemoryPublisher:
    """Publisher onto a MemoryLog."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def publish(self, topic: str, events: Sequence[Event]) -> None:
        await asyncio.sleep(0)
        self._log.require_up()
        self._log.append(topic, events)

    async def ping(self) -> None:
        self._log.require_up()

    async def close(self) -> None:
        """Nothing to let go of."""


class MemorySubscription:
    """Subscription to a MemoryLog. A new one with the name of a dead one gets at once what that one left."""

    def __init__(self, log: MemoryLog, topic: str, group: str, consumer: str, claim_idle_seconds: float) -> None:
        self._log = log
        self._topic = topic
        self._group_name = group
        self._consumer = consumer
        self._claim_idle_seconds = claim_idle_seconds
        self._replay_from: int | None = 0

    async def poll(self, limit: int, timeout_seconds: float) -> list[Delivery]:
        deadline = time.monotonic() + timeout_seconds
        while True:
            await asyncio.sleep(0)
            if self._log.down:
                self._replay_from = 0
            self._log.require_up()
            found = self._take(limit)
            left = deadline - time.monotonic()
            if found or left <= 0 or not await self._log.arrival(left):
                return found

    def _take(self, limit: int) -> list[Delivery]:
        group = self._log.group(self._topic, self._group_name)
        now = time.monotonic()
        if self._replay_from is not None:
            start = self._replay_from
            again = [i for i, taken in group.taken.items() if i >= start and taken.consumer == self._consumer]
            again = sorted(again)[:limit]
            self._replay_from = again[-1] + 1 if again else None
        else:
            again = []
        if not again:
            idle_since = now - self._claim_idle_seconds
            again = sorted(i for i, taken in group.taken.items() if taken.taken_at <= idle_since)[:limit]
        topic = self._log.topic(self._topic)
        if not again:
            again = list(range(group.next_index, min(group.next_index + limit, len(topic))))
            group.next_index += len(again)
        found = []
        for index in again:
            attempt = group.taken[index].attempt + 1 if index in group.taken else 1
            group.taken[index] = _Taken(self._consumer, now, attempt)
            found.append(Delivery(topic[index], str(index), attempt))
        return found

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        await asyncio.sleep(0)
        self._log.require_up()
        group = self._log.group(self._topic, self._group_name)
        for delivery in deliveries:
            group.taken.pop(int(delivery.position), None)

    async def lag(self) -> int:
        await asyncio.sleep(0)
        self._log.require_up()
        group = self._log.group(self._topic, self._group_name)
        return len(self._log.topic(self._topic)) - group.next_index + len(group.taken)

    async def ping(self) -> None:
        self._log.require_up()

    async def close(self) -> None:
        """Nothing to let go of."""
