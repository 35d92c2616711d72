"""The archive: whole months leave the database for object storage, still sealed and still provable.

What is personal stays sealed in an object, with keys that stay in the database: erasing a person reaches the archive
too. An object is a file of entries as `assay audit export --format log` writes it. It is written, read back and
compared before anything is removed, so a crash at any point loses nothing, and doing it again does no harm.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.audit.custody import CustodyStore, Span
from services.audit.events import Entry, State
from services.audit.months import Month
from services.audit.ports import EventStore
from services.kernel.errors import AssayError, Reason
from services.kernel.stores import StoreUnavailable

MOST_ENTRIES = 500_000
"""Entries in one object: what one transaction removes in seconds."""

_PAGE = 1000
_TRIES = 3

_log = logging.getLogger(__name__)


class Objects(Protocol):
    """Object storage. Everything raises StoreUnavailable."""

    async def write(self, name: str, content: AsyncIterator[bytes]) -> None:
        """Makes an object, or replaces it; whole or not at all."""

    def read(self, name: str) -> AsyncIterator[bytes]:
        """Yields an object's content."""

    async def remove(self, name: str) -> None:
        """Removes an object; one that is not there is no fault."""


@dataclass(frozen=True, slots=True)
class Archived:
    """What was archived."""

    objects: Sequence[str]
    events: int


class Archiver:
    """Moves months into the archive."""

    def __init__(
        self,
        custody: CustodyStore,
        store: EventStore,
        objects: Objects | None,
        framed: Callable[[Entry], bytes],
        clock: Callable[[], int] = time.time_ns,
        most_entries: int = MOST_ENTRIES,
    ) -> None:
        """`objects` is None where no archive is configured; `framed` gives an entry as it is in a file of entries."""
        self._custody = custody
        self._store = store
        self._objects = objects
        self._framed = framed
        self._clock = clock
        self._most_entries = most_entries

    async def archive(self, before: int, operator: str) -> Archived:
        """Moves what was appended in the months that ended at or before a time; the month of today never.

        Actions and what is on hold stay. Where it fails, what was moved until then is moved.

        Raises:
            AssayError: ARCHIVE_MISSING, PART_UNAVAILABLE.
        """
        if self._objects is None:
            raise AssayError(Reason.ARCHIVE_MISSING, setting="ASSAY_ARCHIVE")
        end = Month.of(min(before, self._clock())).start
        names: list[str] = []
        events = 0
        oldest = await self._custody.oldest()
        month = Month.of(oldest) if oldest is not None else None
        while month is not None and month.end <= end:
            async for name, count in self._months_objects(self._objects, month, operator):
                names.append(name)
                events += count
            month = month.next
        if names:
            await self._custody.tidy(end)
        return Archived(names, events)

    async def _months_objects(self, objects: Objects, month: Month, operator: str) -> AsyncIterator[tuple[str, int]]:
        after, failed = -1, 0
        while spans := await self._custody.movable(month.start, month.end, after, self._most_entries):
            name = f"{month}/{spans[0].start:012}-{spans[-1].end - 1:012}.log"
            sha256 = await self._copied(objects, name, spans)
            if sha256 is not None and await self._custody.move(spans, name, sha256, operator):
                _log.info("contents archived", extra={"object": name, "operator": operator})
                yield name, sum(span.end - span.start for span in spans)
                after, failed = spans[-1].end - 1, 0
                continue
            # A hold was placed, or something expired, while it was copied: no event speaks of the copy.
            await objects.remove(name)
            if (failed := failed + 1) == _TRIES:
                raise StoreUnavailable("audit store")

    async def _copied(self, objects: Objects, name: str, spans: Sequence[Span]) -> bytes | None:
        """Copies entries and returns the SHA-256 of the object as it was read back; None when some are not there."""
        written, read = hashlib.sha256(), hashlib.sha256()
        missing = sum(span.end - span.start for span in spans)

        async def content() -> AsyncIterator[bytes]:
            nonlocal missing
            async for entries in self._pages(spans):
                missing -= sum(entry.state is State.PRESENT and bool(entry.record) for entry in entries)
                chunk = b"".join(map(self._framed, entries))
                written.update(chunk)
                yield chunk

        await objects.write(name, content())
        async for chunk in objects.read(name):
            read.update(chunk)
        if read.digest() != written.digest():
            _log.error("the archive does not give back what was written to it", extra={"object": name})
            raise StoreUnavailable("archive")
        return None if missing else read.digest()

    async def _pages(self, spans: Sequence[Span]) -> AsyncIterator[Sequence[Entry]]:
        for start, end in spans:
            while start < end:
                entries = await self._store.entries(start, min(_PAGE, end - start), records=True)
                if not entries:
                    return
                yield entries
                start += len(entries)
