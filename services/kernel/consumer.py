"""The loop of every consumer: poll, store, commit; the cursor moves last, so an event is lost by no crash.

What can come of an event has a name (Outcome): stored, repeated, dead-lettered. What can stop the loop for a while has
one too (Obstacle): the store is away, the log is away, too many events are refused. In each case the loop holds what it
has, waits and tries again, without end and without committing.

An event that can never be stored goes to the topic's dead letters and is committed, so that nothing behind it waits.
But a consumer that refuses everything, because it is older than what it reads or has a bug, must not carry a whole
topic off to the dead letters: Allowance bounds how many it may put aside.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from assay.events.v1 import events_pb2
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from services.kernel.allowance import Allowance
from services.kernel.eventlog.deadletters import DeadLetters
from services.kernel.eventlog.port import Delivery, Event, EventLogUnavailable, Subscription
from services.kernel.stores import Refused, Sink, Stored, StoreUnavailable

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
    REFUSALS = "refusals"
    """More events are refused than may be put aside; a person should look, before the topic is lost to view."""


@dataclass(frozen=True, slots=True)
class ConsumerPace:
    """How the loop goes about it. Spans in seconds."""

    batch: int = 500
    """Events in one round at most. Each round costs the store and the log one sync of the disk, whatever its size."""

    poll: float = 1.0
    """How long a poll waits for the first event."""

    first_pause: float = 0.1
    longest_pause: float = 5.0
    watch: float = 5.0
    """Between two looks at how many events and dead letters wait."""


class Consumer(Generic[Item]):
    """Carries the events of one topic into one sink. Also a Prometheus collector of what it did."""

    def __init__(
        self,
        group: str,
        subscription: Subscription,
        dead_letters: DeadLetters,
        parse: Callable[[Event], Item],
        sink: Sink[Item],
        pace: ConsumerPace | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        """`dead_letters` are those of the topic that `subscription`, in `group`, is to.

        `parse` makes an item of an event, or raises Refused.
        """
        self._topic = dead_letters.topic
        self._group = group
        self._subscription = subscription
        self._dead_letters = dead_letters
        self._parse = parse
        self._sink = sink
        self._pace = pace or ConsumerPace()
        self._allowance = allowance or Allowance()
        self.outcomes = dict.fromkeys(Outcome, 0)
        """Events that ended so, since the start."""
        self.obstructions = dict.fromkeys(Obstacle, 0)
        """Attempts that failed for it, since the start."""
        self.waits_for: Obstacle | None = None
        """What the loop waits for now."""
        self.lag: int | None = None
        """Events that are not committed yet, as of some seconds ago; None while the log does not say."""
        self.letters_waiting: int | None = None
        """Dead letters of the topic that nobody has replayed, likewise."""

    async def run(self) -> None:
        """Works until cancelled. A cancellation at any point loses nothing: what is not committed comes again.

        Raises:
            whatever the parser or the sink raises against its contract; nothing is committed then.
        """
        watch = asyncio.create_task(self._watch(), name=f"lag of {self._topic}")
        try:
            while True:
                deliveries = await self._persist(
                    lambda: self._subscription.poll(self._pace.batch, self._pace.poll),
                    EventLogUnavailable,
                    Obstacle.LOG,
                )
                if deliveries:
                    await self._take(deliveries)
        finally:
            watch.cancel()

    async def check(self) -> None:
        """Raises EventLogUnavailable while more events are refused than may be put aside; a health check."""
        if self.waits_for is Obstacle.REFUSALS:
            raise EventLogUnavailable("too many events are refused")

    async def _watch(self) -> None:
        while True:
            self.lag = self.letters_waiting = None
            with suppress(EventLogUnavailable):
                self.lag = await self._subscription.lag()
                self.letters_waiting = await self._dead_letters.waiting()
            await asyncio.sleep(self._pace.watch)

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        """Returns when every delivery is settled: stored or put aside, and committed."""
        pause = self._pace.first_pause
        while deliveries:
            left = await self._settle(deliveries)
            if not left:
                self._goes_on(Obstacle.REFUSALS)
            elif len(left) == len(deliveries):
                self._waits(Obstacle.REFUSALS)
                await self._pause(pause)
                pause = min(self._pace.longest_pause, pause * 2)
            deliveries = left

    async def _settle(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Stores what can be stored, puts aside of the rest what may be, commits both; returns what is left."""
        ends = await self._persist(lambda: self._store(deliveries), StoreUnavailable, Obstacle.STORE)
        stored = [d for d, end in zip(deliveries, ends, strict=True) if isinstance(end, Outcome)]
        refused = [(d, end) for d, end in zip(deliveries, ends, strict=True) if isinstance(end, Refused)]
        self._allowance.earn(len(stored))
        aside = refused[: self._allowance.spend(len(refused))]
        letters = [self._letter(delivery, refusal.reason) for delivery, refusal in aside]
        if letters:
            await self._persist(lambda: self._dead_letters.put(letters), EventLogUnavailable, Obstacle.LOG)
            for reason in sorted({letter.reason for letter in letters}):
                count = sum(letter.reason == reason for letter in letters)
                _log.error("dead letters", extra={"topic": self._topic, "reason": reason, "events": count})
        # Tried until it works, because a log that is told nothing would only bring the same events again.
        settled = [*stored, *(delivery for delivery, _ in aside)]
        await self._persist(lambda: self._subscription.commit(settled), EventLogUnavailable, Obstacle.LOG)
        for end in ends:
            if isinstance(end, Outcome):
                self.outcomes[end] += 1
        self.outcomes[Outcome.DEAD_LETTERED] += len(aside)
        return [delivery for delivery, _ in refused[len(aside) :]]

    async def _store(self, deliveries: Sequence[Delivery]) -> list[Outcome | Refused]:
        """Stores what can be stored and says of each delivery how it ended; repeating it changes nothing."""
        ends = [self._parsed(delivery.event) for delivery in deliveries]
        parsed = [end for end in ends if not isinstance(end, Refused)]
        stored = iter(await self._put(parsed) if parsed else ())
        outcomes: list[Outcome | Refused] = []
        for end in ends:
            became = end if isinstance(end, Refused) else next(stored)
            if became is Stored.CONFLICT:
                outcomes.append(Refused("another event is stored under its key"))
            elif isinstance(became, Refused):
                outcomes.append(became)
            else:
                outcomes.append(Outcome.STORED if became is Stored.NEW else Outcome.REPEATED)
        return outcomes

    def _parsed(self, event: Event) -> Item | Refused:
        try:
            return self._parse(event)
        except Refused as refused:
            return refused
        except Exception as fault:
            # A parser that trips over an event would trip over it for ever.
            return Refused(f"the parser failed: {type(fault).__name__}")

    async def _put(self, parsed: Sequence[Item]) -> Sequence[Stored | Refused]:
        try:
            return await self._sink.put(parsed)
        except Refused as refused:
            if len(parsed) == 1:
                return [refused]
        # One of them is refused, and with it the whole transaction: halve until it stands alone.
        middle = len(parsed) // 2
        return [*await self._put(parsed[:middle]), *await self._put(parsed[middle:])]

    def _letter(self, delivery: Delivery, reason: str) -> events_pb2.DeadLetter:
        letter = events_pb2.DeadLetter(
            topic=self._topic,
            # A key that came from outside may hold what no message can; its letter must be kept all the same.
            key=delivery.event.key.encode(errors="replace").decode(),
            payload=delivery.event.payload,
            reason=reason,
            position=delivery.position,
            group=self._group,
            attempts=delivery.event.tries + delivery.attempt,
        )
        letter.create_time.GetCurrentTime()
        return letter

    async def _persist(
        self, attempt: Callable[[], Awaitable[Result]], fault: type[Exception], obstacle: Obstacle
    ) -> Result:
        """Repeats the attempt, with growing pauses, as long as it raises the fault."""
        pause = self._pace.first_pause
        while True:
            try:
                result = await attempt()
            except fault:
                self._waits(obstacle)
                await self._pause(pause)
                pause = min(self._pace.longest_pause, pause * 2)
            else:
                self._goes_on(obstacle)
                return result

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311  # spreads replicas, guards nothing

    def _waits(self, obstacle: Obstacle) -> None:
        self.obstructions[obstacle] += 1
        if self.waits_for is not obstacle:
            self.waits_for = obstacle
            level = logging.ERROR if obstacle is Obstacle.REFUSALS else logging.WARNING
            _log.log(level, "consumer waits", extra={"topic": self._topic, "obstacle": obstacle.value})

    def _goes_on(self, obstacle: Obstacle) -> None:
        if self.waits_for is obstacle:
            self.waits_for = None
            _log.info("consumer goes on", extra={"topic": self._topic, "obstacle": obstacle.value})

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
        lag = GaugeMetricFamily("assay_consumer_lag", "Events that are not committed yet.", labels=["topic"])
        letters = GaugeMetricFamily("assay_dead_letters", "Dead letters that nobody has replayed.", labels=["topic"])
        for gauge, known in ((lag, self.lag), (letters, self.letters_waiting)):
            if known is not None:
                gauge.add_metric([self._topic], known)
        yield from (events, failed, waits, lag, letters)
