"""Legal holds: which events must neither expire nor lose their person, and who decided that. Times are Unix ns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.audit.custody import EVER, NEVER, CustodyStore, Hold
from services.kernel.echo import echo
from services.kernel.errors import AssayError, Reason
from services.kernel.identifiers import uuid7


@dataclass(frozen=True, slots=True)
class HoldDesk:
    """Places and releases holds."""

    store: CustodyStore
    clock: Callable[[], int] = time.time_ns

    async def place(self, hold: Hold, operator: str) -> Hold:
        """Returns the hold as it is in force, with an id and a time of its own.

        Raises:
            AssayError: FIELD_INVALID for a range that ends before it starts, PART_UNAVAILABLE.
        """
        if hold.start != EVER and hold.end != NEVER and hold.end <= hold.start:
            raise AssayError(
                Reason.FIELD_INVALID, field="hold.end_time", value="not after start_time", limit="after hold.start_time"
            )
        placed = replace(hold, hold_id=uuid7(), create_time=self.clock())
        await self.store.place(placed, operator)
        return placed

    async def release(self, hold_id: str, operator: str) -> Hold:
        """Returns the hold as it was.

        Raises:
            AssayError: FIELD_INVALID for an empty id, HOLD_UNKNOWN, PART_UNAVAILABLE.
        """
        if not hold_id:
            raise AssayError(Reason.FIELD_INVALID, field="hold_id", value="empty", limit="the id of a hold in force")
        held = None if "\0" in hold_id else await self.store.release(hold_id, operator)
        if held is None:
            raise AssayError(Reason.HOLD_UNKNOWN, field="hold_id", value=echo(hold_id))
        return held

    async def holds(self) -> Sequence[Hold]:
        """Returns the holds in force, oldest first. Raises AssayError: PART_UNAVAILABLE."""
        return await self.store.holds()
