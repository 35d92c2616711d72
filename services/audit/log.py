"""The audit log and the two questions that it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.audit.events import EventQuery, EventRecord
from services.audit.ports import EventStore
from services.kernel.echo import echo
from services.kernel.errors import AssayError, Reason
from services.kernel.paging import Position, page_of


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Answers from a store."""

    store: EventStore

    async def get(self, event_id: str) -> EventRecord:
        """Returns an event.

        Raises:
            AssayError: FIELD_INVALID for an empty id, EVENT_UNKNOWN, PART_UNAVAILABLE.
        """
        if not event_id:
            raise AssayError(Reason.FIELD_INVALID, field="event_id", value="empty", limit="the audit_id of an answer")
        record = await self.store.get(event_id)
        if record is None:
            raise AssayError(Reason.EVENT_UNKNOWN, field="event_id", value=echo(event_id))
        return record

    async def page(self, query: EventQuery, size: int, token: str) -> tuple[Sequence[EventRecord], str]:
        """Returns a page of events, newest first, and the token of the next one, empty on the last.

        Raises:
            AssayError: FIELD_INVALID for a negative size or a range that ends before it starts, PAGE_TOKEN_INVALID,
                PART_UNAVAILABLE.
        """
        if query.start is not None and query.end is not None and query.end < query.start:
            raise AssayError(
                Reason.FIELD_INVALID, field="end_time", value="before start_time", limit="at or after start_time"
            )

        async def fetch(after: Position | None, limit: int) -> Sequence[EventRecord]:
            return await self.store.page(query, after, limit)

        return await page_of(
            fetch,
            lambda record: (record.create_time, record.event_id),
            shape=(int, str),
            filters=query.filters(),
            size=size,
            token=token,
        )
