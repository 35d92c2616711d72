"""Group commit: what becomes ready in one turn of the event loop goes into the outbox together, and then leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from services.gateway.ports import Entry, Outbox, OutboxUnavailable
from services.gateway.records import AuditRecord, ReviewRequest
from services.kernel.errors import AssayError, Reason

Encode = Callable[[AuditRecord, ReviewRequest | None], list[Entry]]
"""Turns a record, and the review that its answer asks for, into the entries of the outbox."""

_log = logging.getLogger(__name__)


class Recorder:
    """Puts records into the outbox; a record is durable when `record` returns."""

    def __init__(self, outbox: Outbox, encode: Encode, wake: Callable[[], None]) -> None:
        """`wake` is called after each commit, for the relay to look."""
        self._outbox = outbox
        self._encode = encode
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._entries: list[Entry] = []
        self._waiters: list[asyncio.Future[bool]] = []
        self._planned = False
        self.lost = 0
        """Records of callers that had gone away which could not be stored."""

    def require_room(self) -> None:
        """Raises AUDIT_UNAVAILABLE when the outbox is full: no work is done for an answer that may not leave."""
        if self._outbox.full:
            raise AssayError(Reason.AUDIT_UNAVAILABLE, part="outbox")

    async def record(self, records: Sequence[tuple[AuditRecord, ReviewRequest | None]]) -> None:
        """Stores the records, all or none.

        When cancelled, they are stored all the same.

        Raises:
            AssayError: AUDIT_UNAVAILABLE; nothing may be answered.
        """
        stored = self._loop.create_future()
        for record, review in records:
            self._entries += self._encode(record, review)
        self._waiters.append(stored)
        self._plan()
        if not await stored:
            raise AssayError(Reason.AUDIT_UNAVAILABLE, part="outbox")

    def record_departed(self, records: Sequence[AuditRecord]) -> None:
        """Stores records of calls whose callers went away: nobody waits."""
        for record in records:
            self._entries += self._encode(record, None)
        self._plan()

    def flush(self) -> None:
        """Commits now what is waiting."""
        self._planned = False
        entries, self._entries = self._entries, []
        waiters, self._waiters = self._waiters, []
        if not entries:
            return
        try:
            self._outbox.append(entries)
            stored = True
        except OutboxUnavailable as error:
            _log.error("the outbox refused events", extra={"events": len(entries), "fault": str(error)})
            stored = False
            if not waiters:
                self.lost += len(entries)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(stored)
        if stored:
            self._wake()

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self.flush)
