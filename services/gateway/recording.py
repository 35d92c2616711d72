"""Group commit: what becomes ready in one turn of the event loop is kept together, and then leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from services.gateway.durability import Durability
from services.gateway.ports import Entry, Outbox
from services.gateway.records import AuditRecord, ReviewRequest
from services.kernel.errors import AssayError, Reason

Encode = Callable[[AuditRecord, ReviewRequest | None], list[Entry]]
"""Turns a record, and the review that its answer asks for, into the entries of the outbox."""

_log = logging.getLogger(__name__)


class _Waiter:
    """Somebody who waits for so many records to be kept."""

    __slots__ = ("records", "told")

    def __init__(self, told: asyncio.Future[bool], records: int) -> None:
        self.told = told
        self.records = records


class Recorder:
    """Keeps records; one is as durable as `durability` promises when `record` returns."""

    def __init__(self, outbox: Outbox, encode: Encode, durability: Durability) -> None:
        self._outbox = outbox
        self._encode = encode
        self._durability = durability
        self._loop = asyncio.get_running_loop()
        self._entries: list[Entry] = []
        self._waiters: list[_Waiter] = []
        self._departed = 0
        self._planned = False
        self.lost = 0
        """Records of callers that had gone away which could not be stored."""

    def require_room(self) -> None:
        """Raises AUDIT_UNAVAILABLE when the outbox is full or can't be written, whatever else would keep the record.

        So no work is done for an answer that may not leave.
        """
        if self._outbox.refusing:
            raise AssayError(Reason.AUDIT_UNAVAILABLE, part="outbox")

    async def record(self, records: Sequence[tuple[AuditRecord, ReviewRequest | None]]) -> None:
        """Stores the records, all or none.

        When cancelled, it waits until they are stored all the same: who is told that the time is over is told nothing
        before. Cancelled again, it waits no longer.

        Raises:
            AssayError: AUDIT_UNAVAILABLE; nothing may be answered.
        """
        waiter = _Waiter(self._loop.create_future(), len(records))
        for record, review in records:
            self._entries += self._encode(record, review)
        self._waiters.append(waiter)
        self._plan()
        try:
            kept = await waiter.told
        except asyncio.CancelledError:
            if waiter.told.cancelled():
                waiter.told = self._loop.create_future()
            if await waiter.told:
                raise
            kept = False
        if not kept:
            raise AssayError(Reason.AUDIT_UNAVAILABLE, part="outbox")

    def record_departed(self, records: Sequence[AuditRecord]) -> None:
        """Stores records of calls whose callers went away: nobody waits."""
        for record in records:
            self._entries += self._encode(record, None)
        self._departed += len(records)
        self._plan()

    def flush(self) -> None:
        """Begins now to keep what is waiting."""
        self._planned = False
        entries, self._entries = self._entries, []
        waiters, self._waiters = self._waiters, []
        departed, self._departed = self._departed, 0
        if entries:
            self._durability.keep(entries, partial(self._tell, waiters, departed))

    async def close(self) -> None:
        """Keeps what is waiting and returns when that is done."""
        self.flush()
        await self._durability.close()

    def _tell(self, waiters: Sequence[_Waiter], departed: int, kept: bool) -> None:
        for waiter in waiters:
            if waiter.told.done():  # cancelled: nobody waits any more
                departed += waiter.records
            else:
                waiter.told.set_result(kept)
        if departed and not kept:
            self.lost += departed
            _log.error("records of departed callers are lost", extra={"records": departed})

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self.flush)
