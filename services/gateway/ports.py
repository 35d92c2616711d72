"""Where the gateway's domain ends: the classifier, and the file that holds events until the event log has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.gateway.answers import Classification, ModelPage
from services.gateway.requests import Query
from services.kernel.errors import AssayError
from services.kernel.eventlog.port import Event


class Classifier(Protocol):
    """Texts in, labels out. May be called many times at once."""

    async def classify(self, queries: Sequence[Query], deadline: float) -> list[Classification | AssayError]:
        """Classifies 1 to 1,024 queries; results stand in the order of the queries, a bad query fails alone.

        `deadline` is a time of the event loop's clock. Cancelling the call cancels the work as far as it can be.

        Raises:
            AssayError: PART_UNAVAILABLE, OVERLOADED, DEADLINE_EXCEEDED or INTERNAL; no query was answered.
        """

    async def list_models(self, page_size: int, page_token: str, industry: str, deadline: float) -> ModelPage:
        """Returns a page of what can be called.

        Raises:
            AssayError: as the classifier says, and as `classify` raises.
        """

    async def ping(self) -> None:
        """Returns when a classifier serves. Raises AssayError PART_UNAVAILABLE when none does."""

    async def close(self) -> None:
        """Lets go of connections; idempotent."""


class OutboxUnavailable(Exception):
    """The outbox can't be written or read: its disk is full or broken, or it holds as much as it may."""


@dataclass(slots=True)
class Entry:
    """An event on its way to a topic of the event log."""

    topic: str
    event: Event


def by_topic(entries: Iterable[Entry]) -> dict[str, list[Event]]:
    """Returns the events of each topic, in order; the topics as they first come."""
    topics: dict[str, list[Event]] = {}
    for entry in entries:
        topics.setdefault(entry.topic, []).append(entry.event)
    return topics


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry in the outbox; positions rise in the order of writing."""

    position: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Bookmark:
    """How far a file has been read: its inode number, and the offset in bytes behind the last line."""

    name: str
    file: int
    offset: int


class Outbox(Protocol):
    """Events that are not in the event log yet. Used from the event loop's thread alone.

    What `append` took is there after kill -9 of the process, and after a power cut once `sync` has returned. Its calls
    are short; `sync` alone waits for a disk, so it is called on another thread.
    """

    @property
    def depth(self) -> int:
        """How many events are waiting."""

    @property
    def size(self) -> int:
        """How many bytes their payloads have."""

    @property
    def full(self) -> bool:
        """Whether it holds as much as it may, or the disk has no more room than must be left; `append` will refuse."""

    @property
    def refusing(self) -> bool:
        """Whether it is full or could not be written the last time."""

    def append(self, entries: Sequence[Entry], bookmark: Bookmark | None = None) -> None:
        """Stores all entries, and the bookmark, or nothing.

        Raises:
            OutboxUnavailable
        """

    def sync(self) -> None:
        """Returns when everything that was appended before would survive a power cut. Called on another thread.

        Raises:
            OutboxUnavailable: nobody knows what the disk holds now; the process must end and open the outbox again.
        """

    def head(self, limit: int) -> list[Stored]:
        """Returns the oldest entries, at most `limit`.

        Raises:
            OutboxUnavailable
        """

    def discard(self, through: int) -> None:
        """Forgets every entry up to this position.

        Raises:
            OutboxUnavailable: they are still there.
        """

    def bookmark(self, name: str) -> Bookmark | None:
        """Returns the bookmark last stored under this name.

        Raises:
            OutboxUnavailable
        """

    def check(self) -> None:
        """Says whether the next `append` can be expected to work; writes only if the last one failed.

        Raises:
            OutboxUnavailable
        """

    async def tend(self) -> None:
        """Does what keeps the outbox small and fast, away from the event loop's thread; call it about once a second."""

    def close(self) -> None:
        """Closes it; idempotent."""
