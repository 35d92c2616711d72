"""Where the audit log keeps its events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.audit.events import EventQuery, EventRecord
from services.kernel.paging import Position
from services.kernel.stores import Sink


class EventStore(Sink[EventRecord], Protocol):
    """Keeps each event once, under its event_id."""

    async def get(self, event_id: str) -> EventRecord | None:
        """Returns an event, None when there is none.

        Raises:
            StoreUnavailable
        """

    async def page(self, query: EventQuery, after: Position | None, limit: int) -> Sequence[EventRecord]:
        """Returns at most `limit` events by (create_time, event_id), highest first, below `after` when it is given.

        Raises:
            StoreUnavailable
        """

    async def ping(self) -> None:
        """Returns when the store works. Raises StoreUnavailable when it does not."""

    async def close(self) -> None:
        """Waits for what runs and lets go of the store; idempotent."""
