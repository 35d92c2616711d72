"""What may be done to what the log holds, and what a store must keep true while it is done. Times are Unix ns.

The log itself never changes: contents and keys go, leaf hashes stay. Whatever is done is an event of the log, appended
in the same transaction, so neither is ever without the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

EVER, NEVER = -(2**63), 2**63 - 1
"""Bounds of a range of time that has none."""

MOST_RANGES = 10_000
"""Ranges in one event of the log: an event that lists more would be too large to be read back."""


class Span(NamedTuple):
    """Entries start to end - 1."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold: which events it covers, and why."""

    tenant: str
    caller: str = ""
    """Empty: every caller of the tenant."""

    start: int = EVER
    """Events appended at or after this."""

    end: int = NEVER
    """Events appended before this."""

    note: str = ""
    hold_id: str = ""
    create_time: int = 0


@dataclass(frozen=True, slots=True)
class Person:
    """Whose events: exactly one of caller and subject is set."""

    tenant: str
    caller: str = ""
    subject: str = ""

    def __str__(self) -> str:
        """As Arrival.person says it."""
        return f"subject {self.subject}" if self.subject else f"caller {self.caller}"


@dataclass(frozen=True, slots=True)
class Erased:
    """What became of a person's events."""

    event_id: str
    """The event that says so; empty when there was nothing of the person."""

    events: int


class Held(Exception):
    """A legal hold covers what was to be erased."""

    def __init__(self, hold_id: str) -> None:
        super().__init__(hold_id)
        self.hold_id = hold_id


class CustodyStore(Protocol):
    """The store of the log, as those see it who answer for what it holds. Everything raises StoreUnavailable."""

    async def place(self, hold: Hold, operator: str) -> None:
        """Puts a hold in force."""

    async def release(self, hold_id: str, operator: str) -> Hold | None:
        """Ends a hold and returns it; None where there is none."""

    async def holds(self) -> Sequence[Hold]:
        """Returns the holds in force, oldest first."""

    async def erase(self, person: Person, note: str, operator: str) -> Erased:
        """Destroys a person's key, and what is searched by of the person.

        Raises:
            Held: a hold covers one of the events, or may cover one that was archived.
        """

    async def see(self, now: int) -> int:
        """Notes that it is `now`; returns how much time the clock says has passed that nobody saw pass."""

    async def trust(self, now: int) -> None:
        """Notes that it is `now`, and that all the time before did pass."""

    async def expire(self, horizon: int, limit: int, operator: str) -> int:
        """Removes contents appended before `horizon`, the oldest first, `limit` at most; returns how many.

        Actions and what is on hold stay. From then on no event older than the horizon is taken that is not known.
        """

    async def tidy(self, horizon: int) -> None:
        """Gives back the room of what was removed; to be called when `expire` has nothing more to do."""

    async def has_older(self, time: int) -> bool:
        """Tells whether contents that may expire were appended before `time`."""

    async def movable(self, start: int, end: int, after: int, limit: int) -> Sequence[Span]:
        """Returns the next contents that may be archived, behind index `after`, appended from `start` to `end`.

        At most `limit` of them, in ascending order, none touching another, MOST_RANGES spans at most. Actions and what
        is on hold are left out.
        """

    async def oldest(self) -> int | None:
        """Returns when the oldest contents that may be archived were appended; None when there are none."""

    async def move(self, spans: Sequence[Span], name: str, sha256: bytes, operator: str) -> bool:
        """Removes contents that are in the archive's object `name` now.

        Returns: False, and nothing was done, when they are not all there any more or one is on hold by now.
        """
