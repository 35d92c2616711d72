"""The audit log and the two questions that it answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from services.audit.events import EventQuery, LoggedEvent
from services.audit.ports import EntryDamaged, EventStore
from services.kernel.echo import echo
from services.kernel.errors import AssayError, Reason
from services.kernel.paging import Position, page_of


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Answers from a store."""

    store: EventStore

    async def get(self, event_id: str) -> LoggedEvent:
        """Returns an event.

        Raises:
            AssayError: FIELD_INVALID for an empty id, EVENT_UNKNOWN, LOG_DAMAGED, PART_UNAVAILABLE.
        """
        require_id(event_id)
        with _damage():
            logged = await self.store.get(event_id)
        if logged is None:
            raise unknown(event_id)
        return logged

    async def page(self, query: EventQuery, size: int, token: str) -> tuple[Sequence[LoggedEvent], str]:
        """Returns a page of events, newest first, and the token of the next one, empty on the last.

        Raises:
            AssayError: FIELD_INVALID for a negative size or a range that ends before it starts, PAGE_TOKEN_INVALID,
                LOG_DAMAGED, PART_UNAVAILABLE.
        """
        if query.start is not None and query.end is not None and query.end < query.start:
            raise AssayError(
                Reason.FIELD_INVALID, field="end_time", value="before start_time", limit="at or after start_time"
            )
        low, high = query.min_confidence, query.max_confidence
        if low is not None and high is not None and high < low:
            raise AssayError(
                Reason.FIELD_INVALID,
                field="max_confidence",
                value="below min_confidence",
                limit="at or above min_confidence",
            )

        async def fetch(after: Position | None, limit: int) -> Sequence[LoggedEvent]:
            with _damage():
                return await self.store.page(query, after, limit)

        return await page_of(
            fetch,
            lambda logged: (logged.create_time, logged.event_id),
            shape=(int, str),
            filters=query.filters(),
            size=size,
            token=token,
            weight=lambda logged: len(logged.event),
        )


def require_id(event_id: str) -> None:
    """Raises AssayError for what no event is called: FIELD_INVALID when empty, EVENT_UNKNOWN with a NUL."""
    if not event_id:
        raise AssayError(Reason.FIELD_INVALID, field="event_id", value="empty", limit="the audit_id of an answer")
    if "\0" in event_id:
        raise unknown(event_id)  # PostgreSQL can't even be asked for it


def unknown(event_id: str) -> AssayError:
    """Returns the error for an id that no event has."""
    return AssayError(Reason.EVENT_UNKNOWN, field="event_id", value=echo(event_id))


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except EntryDamaged as damaged:
        raise AssayError(Reason.LOG_DAMAGED, place=damaged) from damaged
