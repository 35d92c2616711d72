"""How durable an event is before its answer leaves: written, synced, or confirmed by the event log.

All three write first and tell afterwards, and whatever is told was kept is in one place at least. None waits for a
clock: what arrives while a sync or a confirmation is under way is gathered, and goes together with the next one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from services.gateway.ports import Entry, Outbox, OutboxUnavailable, by_topic
from services.kernel.eventlog.port import EventLogUnavailable, Publisher

PROCESS, FSYNC, BROKER = "process", "fsync", "broker"
SYNC_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

Tell = Callable[[bool], None]
"""Called once, with whether the entries were kept."""

_log = logging.getLogger(__name__)


class Durability(Protocol):
    """Keeps entries. Used from the event loop's thread."""

    name: str
    """As in the setting."""

    def keep(self, entries: Sequence[Entry], tell: Tell) -> None:
        """Begins to keep the entries, all or none, and tells when it is done, at once perhaps."""

    async def close(self) -> None:
        """Returns when all that was begun is told; nothing is kept afterwards."""


class Written:
    """In the outbox: survives kill -9, and the machine's crash but for the last moments."""

    name = PROCESS

    def __init__(self, outbox: Outbox, wake: Callable[[], None]) -> None:
        """`wake` is called after each commit, for the relay to look."""
        self._outbox = outbox
        self._wake = wake

    def keep(self, entries: Sequence[Entry], tell: Tell) -> None:
        tell(self.write(entries))

    def write(self, entries: Sequence[Entry]) -> bool:
        """Puts the entries into the outbox; says whether it took them."""
        try:
            self._outbox.append(entries)
        except OutboxUnavailable as error:
            _log.error("the outbox refused events", extra={"events": len(entries), "fault": str(error)})
            return False
        self._wake()
        return True

    async def close(self) -> None:
        """Nothing is under way."""


class Synced:
    """In the outbox and on the disk: survives a power cut. One sync serves all that was written before it began."""

    name = FSYNC

    def __init__(self, outbox: Outbox, wake: Callable[[], None]) -> None:
        """`wake` is called after each commit, for the relay to look."""
        self._written = Written(outbox, wake)
        self._outbox = outbox
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "outbox-sync")
        self._waiting: list[Tell] = []
        self._work: asyncio.Task[None] | None = None
        self.buckets = [0] * (len(SYNC_BOUNDS) + 1)
        """Syncs by how long they took; bounds in SYNC_BOUNDS."""
        self.seconds = 0.0
        """How long they took together."""
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._broken.add_done_callback(lambda future: future.cancelled() or future.exception())

    def keep(self, entries: Sequence[Entry], tell: Tell) -> None:
        if not self._written.write(entries):
            tell(False)
            return
        self._waiting.append(tell)
        if self._work is None:
            self._work = self._loop.create_task(self._sync(), name="outbox sync")

    async def watch(self) -> None:
        """Returns never; raises OutboxUnavailable when a sync has failed: the process must end (see Outbox.sync)."""
        await asyncio.shield(self._broken)

    async def close(self) -> None:
        if self._work is not None:
            await self._work
        self._thread.shutdown()

    async def _sync(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            started = time.perf_counter()
            try:
                await self._loop.run_in_executor(self._thread, self._outbox.sync)
                synced = True
            except OutboxUnavailable as error:
                _log.critical("the outbox can't be synced", extra={"fault": str(error)})
                synced = False
                if not self._broken.done():
                    self._broken.set_exception(error)
            took = time.perf_counter() - started
            self.buckets[bisect_left(SYNC_BOUNDS, took)] += 1
            self.seconds += took
            for tell in waiting:
                tell(synced)
        self._work = None


class Confirmed:
    """In the event log: survives the loss of this machine. While the log is away or slow, in the outbox, synced.

    The first publication that fails or takes too long turns to the outbox, and everything goes there until the relay
    has emptied it, which proves that the log is back. What was published without being confirmed goes to the outbox
    as well: it may come twice, never not at all.
    """

    name = BROKER

    def __init__(self, outbox: Outbox, fallback: Durability, publisher: Publisher, seconds: float) -> None:
        """`seconds`: how long the log may take to confirm."""
        self._outbox = outbox
        self._fallback = fallback
        self._publisher = publisher
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Sequence[Entry], Tell]] = []
        self._work: asyncio.Task[None] | None = None
        self.away = False
        """Whether events go to the outbox."""
        self.fallbacks = 0
        """Events that went there."""
        self.confirmed = 0
        """Events that the log has confirmed before their answers left."""

    def keep(self, entries: Sequence[Entry], tell: Tell) -> None:
        if self.away and self._outbox.depth == 0:
            self.away = False
            _log.info("the event log is back; answers wait for it again")
        if self.away:
            self._fall_back(entries, tell)
            return
        self._waiting.append((entries, tell))
        if self._work is None:
            self._work = self._loop.create_task(self._publish(), name="publish")

    async def close(self) -> None:
        if self._work is not None:
            await self._work
        await self._fallback.close()

    async def _publish(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            if await self._is_confirmed([entry for entries, _ in waiting for entry in entries]):
                self.confirmed += sum(len(entries) for entries, _ in waiting)
                for _, tell in waiting:
                    tell(True)
                continue
            # First, because what comes while these fall back belongs behind them.
            self.away = True
            later, self._waiting = self._waiting, []
            for entries, tell in (*waiting, *later):
                self._fall_back(entries, tell)
        self._work = None

    async def _is_confirmed(self, entries: Sequence[Entry]) -> bool:
        try:
            async with asyncio.timeout(self._seconds):
                for topic, events in by_topic(entries).items():
                    await self._publisher.publish(topic, events)
        except (EventLogUnavailable, TimeoutError) as error:
            _log.warning("the event log does not confirm; answers wait for the outbox", extra={"fault": str(error)})
            return False
        except Exception:
            # A fault of ours; the records need not pay for it.
            _log.exception("publishing failed; answers wait for the outbox")
            return False
        return True

    def _fall_back(self, entries: Sequence[Entry], tell: Tell) -> None:
        self.fallbacks += len(entries)
        self._fallback.keep(entries, tell)


@dataclass(frozen=True, slots=True)
class Assurance:
    """A durability with the parts of it that have something to show."""

    durability: Durability
    synced: Synced | None = None
    confirmed: Confirmed | None = None


def assure(name: str, outbox: Outbox, wake: Callable[[], None], publisher: Publisher, seconds: float) -> Assurance:
    """Builds the durability of that name; `seconds`: how long the event log may take to confirm."""
    if name == PROCESS:
        return Assurance(Written(outbox, wake))
    synced = Synced(outbox, wake)
    if name == FSYNC:
        return Assurance(synced, synced)
    confirmed = Confirmed(outbox, synced, publisher, seconds)
    return Assurance(confirmed, synced, confirmed)
