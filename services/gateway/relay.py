"""The relay: from the outbox to the event log, in order, at least once, at its own pace.

An event leaves the outbox only after the log has confirmed it. While the log is away the relay tries again with growing
pauses and the outbox grows; the callers notice nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass

from services.gateway.ports import Outbox, OutboxUnavailable, by_topic
from services.kernel.eventlog.port import EventLogUnavailable, Publisher

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RelayPace:
    """How the relay goes about it. Spans in seconds."""

    batch: int = 500
    """Events in one round at most. Each round costs the log one sync of its disk, whatever its size."""

    gather: float = 0.05
    """From the first new event to the round: a round of one event costs as much as one of twenty."""

    rest: float = 1.0
    """After a round that left more behind, in spans of that round: what waited for minutes must not make calls wait."""

    first_pause: float = 0.1
    longest_pause: float = 5.0


class Relay:
    """Carries events from an outbox to a publisher."""

    def __init__(self, outbox: Outbox, publisher: Publisher, pace: RelayPace | None = None) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._pace = pace or RelayPace()
        self._arrived = asyncio.Event()
        self._confirmed = 0  # the position up to which the log has confirmed, where the outbox still holds it
        self._failures = 0
        self.delivered = 0
        """Events that the log has confirmed."""
        self.failed_attempts = 0
        self.oldest_ns: int | None = None
        """Unix time of the oldest event that waits, as of the last round; None when none does."""

    @property
    def failing(self) -> bool:
        """Whether the last round failed."""
        return self._failures > 0

    def wake(self) -> None:
        """Says that something may have come."""
        self._arrived.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            if self._outbox.depth == 0:
                self._arrived.clear()
                await self._arrived.wait()
                await asyncio.sleep(self._pace.gather)
            await self._round_or_pause()

    async def drain(self) -> None:
        """Works until the outbox is empty or the log fails; for the end of the process, bounded by the caller."""
        with suppress(EventLogUnavailable, OutboxUnavailable):
            while self._outbox.depth:
                await self._round()

    async def _round_or_pause(self) -> None:
        began = time.monotonic()
        try:
            await self._round()
            self._failures = 0
            if self._outbox.depth >= self._pace.batch:
                await asyncio.sleep(self._pace.rest * (time.monotonic() - began))
        except (EventLogUnavailable, OutboxUnavailable) as error:
            self.failed_attempts += 1
            if self._failures == 0:
                _log.warning("events stay in the outbox", extra={"fault": type(error).__name__})
            pause = min(self._pace.longest_pause, self._pace.first_pause * 2 ** min(self._failures, 16))
            self._failures += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads replicas, guards nothing

    async def _round(self) -> None:
        if self._confirmed:
            # A full disk, perhaps, did not let the outbox forget them. They need not be published a second time.
            self._discard(self._confirmed)
        stored = self._outbox.head(self._pace.batch)
        if not stored:
            self.oldest_ns = None
            return
        self.oldest_ns = _made_at_ns(stored[0].entry.event.key)
        # One topic after the other, each in order. If the second fails the first is published again: consumers
        # know an event by its key.
        for topic, events in by_topic(item.entry for item in stored).items():
            await self._publisher.publish(topic, events)
        self.delivered += len(stored)
        self._confirmed = stored[-1].position
        self._discard(self._confirmed)
        if self._outbox.depth == 0:
            self.oldest_ns = None

    def _discard(self, through: int) -> None:
        self._outbox.discard(through)
        self._confirmed = 0


def _made_at_ns(key: str) -> int | None:
    """Returns the Unix time in a UUIDv7, a multiple of 1 ms; None when the key is none."""
    try:
        return int(key[:8] + key[9:13], 16) * 1_000_000
    except ValueError:
        return None
