"""Where the audit log keeps its entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from services.audit.events import Arrival, Entry, EventQuery, LoggedEvent
from services.kernel.paging import Position
from services.kernel.stores import Sink, StoreUnavailable

Result = TypeVar("Result")


class EntryDamaged(Exception):
    """What is stored of an entry is not what was stored: it can't be read or unsealed. `index` says which."""

    def __init__(self, index: int) -> None:
        super().__init__(f"entry {index}")
        self.index = index


class TreeBroken(StoreUnavailable):
    """The stored tree is not the one that was signed, so nothing is appended to it. `fault` says what is wrong."""

    def __init__(self, fault: str) -> None:
        super().__init__("audit log")
        self.fault = fault


class View(Protocol):
    """One state of the log, as long as the work lasts that it was given to."""

    def size(self) -> int:
        """How many entries the log has."""

    def tile(self, level: int, number: int) -> bytes:
        """Returns a tile of its tree; empty where there is none."""

    def index_of(self, event_id: str) -> int | None:
        """Returns an event's place in the log, None when there is none or its contents were removed."""

    def newest_checkpoint(self) -> str | None:
        """Returns the signed note of the largest tree, None when there is none."""


class EventStore(Sink[Arrival], Protocol):
    """An append-only log in which each event has exactly one entry, under its event_id, and each entry one leaf."""

    async def get(self, event_id: str) -> LoggedEvent | None:
        """Returns an event, None when there is none or its contents were removed.

        Raises:
            StoreUnavailable
            EntryDamaged
        """

    async def page(self, query: EventQuery, after: Position | None, limit: int) -> Sequence[LoggedEvent]:
        """Returns at most `limit` events by (create_time, event_id), highest first, below `after` when it is given.

        Raises:
            StoreUnavailable
            EntryDamaged
        """

    async def entries(self, start: int, limit: int, records: bool) -> Sequence[Entry]:
        """Returns at most `limit` entries from `start` on, in order and none left out, with or without records.

        Fewer where they would be more than a page's bytes (paging.MAX_PAGE_BYTES), but at least one.

        Raises:
            StoreUnavailable
        """

    async def view(self, work: Callable[[View], Result]) -> Result:
        """Runs `work` over one state of the log.

        Raises:
            StoreUnavailable
            TreeDamaged: from `work`.
        """

    async def save_checkpoint(self, size: int, note: str) -> None:
        """Keeps a signed note; one of a size that is there already changes nothing. Durable when it returns.

        Raises:
            StoreUnavailable
        """

    async def ping(self) -> None:
        """Returns when the store works. Raises StoreUnavailable when it does not."""

    async def close(self) -> None:
        """Waits for what runs and lets go of the store; idempotent."""
