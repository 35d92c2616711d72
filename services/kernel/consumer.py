"""The loop of every consumer: poll, store, commit; the cursor moves last, so an event is lost by no crash.

What can come of an event has a name (Outcome): stored, repeated, dead-lettered. What can stop the loop for a while has
one too (Obstacle): the store is away, the log is away. In both cases the loop holds what it has, waits and tries again,
without end and without committing. An event that can never be stored goes to the store's dead letters and is
committed, so that nothing behind it waits.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from services.kernel.eventlog.port import Delivery, Event, EventLogUnavailable, Subscription
from services.kernel.stores import DeadLetter, Refused, Sink, Stored, StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class Outcome(Enum):
    """How an event ended."""

    STORED = "stored"
    REPEATED = "repeated"
    DEAD_LETTERED = "dead_lettered"


class Obstacle(Enum):
    """What the loop waits for."""

    STORE = "store"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class ConsumerPace:
    """How the loop goes about it. Spans in seconds."""

    batch: int = 500
    """Events in one round at most. Each round costs the store and the log one sync of the disk, whatever its size."""

    poll: float = 1.0
    """How long a poll waits for the first event."""

    first_pause: float = 0.1
    longest_pause: float = 5.0


class Consumer(Generic[Item]):
    """Carries the events of one topic into one sink. Also a Prometheus collector of what it did."""

    def __init__(
        self,
        topic: str,
        subscription: Subscription,
        parse: Callable[[Event], Item],
        sink: Sink[Item],
        pace: ConsumerPace | None = None,
    ) -> None:
        """`parse` makes an item of an event, or raises Refused."""
        self._topic = topic
        self._subscription = subscription
        self._parse = parse
        self._sink = sink
        self._pace = pace or ConsumerPace()
        self.outcomes = dict.fromkeys(Outcome, 0)
        """Events that ended so, since the start."""
        self.obstructions = dict.fromkeys(Obstacle, 0)
        """Attempts that failed for it, since the start."""
        self.waits_for: Obstacle | None = None
        """What the loop waits for now."""

    async def run(self) -> None:
        """Works until cancelled. A cancellation at any point loses nothing: what is not committed comes again.

        Raises:
            whatever the parser or the sink raises against its contract; nothing is committed then.
        """
        while True:
            deliveries = await self._persist(
                lambda: self._subscription.poll(self._pace.batch, self._pace.poll), EventLogUnavailable, Obstacle.LOG
            )
            if deliveries:
                await self._take(deliveries)

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        outcomes = await self._persist(lambda: self._store(deliveries), StoreUnavailable, Obstacle.STORE)
        # Tried until it works, because a log that is told nothing would only bring the same events again.
        await self._persist(lambda: self._subscription.commit(deliveries), EventLogUnavailable, Obstacle.LOG)
        for outcome in outcomes:
            self.outcomes[outcome] += 1

    async def _store(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Makes every delivery durable, as an item or as a dead letter; repeating it changes nothing."""
        parsed: list[tuple[Event, Item]] = []
        letters: list[DeadLetter] = []
        for delivery in deliveries:
            item = self._parsed(delivery.event)
            if isinstance(item, Refused):
                letters.append(self._letter(delivery.event, item.reason))
            else:
                parsed.append((delivery.event, item))
        stored = await self._put(parsed) if parsed else []
        outcomes: list[Outcome] = []
        for (event, _), end in zip(parsed, stored, strict=True):
            if isinstance(end, Refused):
                letters.append(self._letter(event, end.reason))
            elif end is Stored.CONFLICT:
                letters.append(self._letter(event, "another event is stored under its key"))
            else:
                outcomes.append(Outcome.STORED if end is Stored.NEW else Outcome.REPEATED)
        if letters:
            await self._sink.bury(letters)
            for reason in sorted({letter.reason for letter in letters}):
                count = sum(letter.reason == reason for letter in letters)
                _log.error("dead letters", extra={"topic": self._topic, "reason": reason, "events": count})
        return outcomes + [Outcome.DEAD_LETTERED] * len(letters)

    def _parsed(self, event: Event) -> Item | Refused:
        try:
            return self._parse(event)
        except Refused as refused:
            return refused
        except Exception as fault:
            # A parser that trips over an event would trip over it for ever.
            return Refused(f"the parser failed: {type(fault).__name__}")

    async def _put(self, parsed: Sequence[tuple[Event, Item]]) -> Sequence[Stored | Refused]:
        try:
            return await self._sink.put([item for _, item in parsed])
        except Refused as refused:
            if len(parsed) == 1:
                return [refused]
        # One of them is refused, and with it the whole transaction: halve until it stands alone.
        middle = len(parsed) // 2
        return [*await self._put(parsed[:middle]), *await self._put(parsed[middle:])]

    def _letter(self, event: Event, reason: str) -> DeadLetter:
        return DeadLetter(self._topic, event.key, event.payload, reason)

    async def _persist(
        self, attempt: Callable[[], Awaitable[Result]], fault: type[Exception], obstacle: Obstacle
    ) -> Result:
        """Repeats the attempt, with growing pauses, as long as it raises the fault."""
        pause = self._pace.first_pause
        while True:
            try:
                result = await attempt()
            except fault:
                self.obstructions[obstacle] += 1
                if self.waits_for is not obstacle:
                    self.waits_for = obstacle
                    _log.warning("consumer waits", extra={"topic": self._topic, "obstacle": obstacle.value})
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads replicas, guards nothing
                pause = min(self._pace.longest_pause, pause * 2)
            else:
                if self.waits_for is obstacle:
                    self.waits_for = None
                    _log.info("consumer goes on", extra={"topic": self._topic, "obstacle": obstacle.value})
                return result

    def collect(self) -> Iterator[Metric]:
        """Yields the figures as Prometheus metric families."""
        events = CounterMetricFamily("assay_consumer_events", "Events by how they ended.", labels=["topic", "outcome"])
        for outcome, count in self.outcomes.items():
            events.add_metric([self._topic, outcome.value], count)
        labels = ["topic", "obstacle"]
        failed = CounterMetricFamily("assay_consumer_obstructions", "Attempts that failed, by what for.", labels=labels)
        waits = GaugeMetricFamily("assay_consumer_waiting", "1 while the consumer waits for it.", labels=labels)
        for obstacle, count in self.obstructions.items():
            failed.add_metric([self._topic, obstacle.value], count)
            waits.add_metric([self._topic, obstacle.value], self.waits_for is obstacle)
        yield from (events, failed, waits)
