"""What a consumer asks of the store behind it, and the names of what can come of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol, TypeVar

from services.kernel.errors import AssayError, Reason

Item = TypeVar("Item", contravariant=True)


class StoreUnavailable(AssayError):
    """The store can't be reached, is full, or did not confirm; what was asked may or may not have happened.

    A consumer tries again. A caller of an RPC gets PART_UNAVAILABLE.
    """

    def __init__(self, store: str) -> None:
        super().__init__(Reason.PART_UNAVAILABLE, part=store)


class Refused(Exception):
    """An event that will never be taken, however often it comes. `reason` says why and quotes nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Stored(Enum):
    """What became of an item."""

    NEW = "new"
    REPEAT = "repeat"
    """It was there already, the same."""

    CONFLICT = "conflict"
    """Something else is there under its key, and stays."""


class Sink(Protocol[Item]):
    """A store that keeps each item once."""

    async def put(self, items: Sequence[Item]) -> Sequence[Stored]:
        """Stores items in one transaction and says for each what became of it; durable when it returns.

        Raises:
            StoreUnavailable: try again; what was stored already is a repeat then.
            Refused: one of the items can never be stored, and none of them was.
        """
