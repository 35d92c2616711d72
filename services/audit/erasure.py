"""Erasure of one person: the key goes, and with it everything personal in the person's events, for good."""

from __future__ import annotations

from dataclasses import dataclass

from services.audit.custody import CustodyStore, Erased, Held, Person
from services.kernel.errors import AssayError, Reason


@dataclass(frozen=True, slots=True)
class Erasure:
    """Erases persons."""

    store: CustodyStore

    async def erase(self, person: Person, note: str, operator: str) -> Erased:
        """Makes a person's events unreadable; doing it again changes nothing.

        Raises:
            AssayError: HOLD_IN_FORCE, PART_UNAVAILABLE.
        """
        try:
            return await self.store.erase(person, note, operator)
        except Held as held:
            raise AssayError(Reason.HOLD_IN_FORCE, hold_id=held.hold_id) from None
