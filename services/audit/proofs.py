"""What proves the log to someone who trusts nobody: checkpoints, proofs and the entries as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from services.audit.events import Entry
from services.audit.log import require_id, unknown
from services.audit.merkle import tiles
from services.audit.merkle.notes import Checkpoint, NoteInvalid, Verifier, open_note
from services.audit.merkle.tiles import TreeDamaged
from services.audit.ports import EventStore, TreeBroken, View
from services.kernel.errors import AssayError, Reason
from services.kernel.paging import MAX_PAGE_SIZE

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Inclusion:
    """A proof that an entry is in the tree of the first `size` leaves (RFC 9162, section 2.1.3)."""

    index: int
    size: int
    leaf_hash: bytes
    path: Sequence[bytes]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Consistency:
    """A proof that the first `first` leaves begin the tree of `second` (RFC 9162, section 2.1.4)."""

    first: int
    second: int
    path: Sequence[bytes]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Prover:
    """Proves from a store, for trees up to the newest checkpoint: a larger one was signed by nobody yet."""

    store: EventStore
    verifier: Verifier

    async def checkpoint(self) -> tuple[Checkpoint, str]:
        """Returns the newest checkpoint and its signed note.

        Raises:
            AssayError: PROOF_PENDING before the first one, LOG_DAMAGED, PART_UNAVAILABLE.
        """
        return await self._read(self._newest)

    async def inclusion(self, event_id: str, size: int) -> Inclusion:
        """Proves that an event is in the tree of `size` leaves, 0 for that of the newest checkpoint.

        Raises:
            AssayError: EVENT_UNKNOWN, FIELD_INVALID for an empty id or a size that is not signed or does not reach the
                event, PROOF_PENDING, LOG_DAMAGED, PART_UNAVAILABLE.
        """
        require_id(event_id)

        def prove(view: View) -> Inclusion:
            index = view.index_of(event_id)
            if index is None:
                raise unknown(event_id)
            newest, note = self._newest(view)
            if newest.size <= index:
                raise AssayError(Reason.PROOF_PENDING)
            within = _within("tree_size", size, index + 1, newest.size)
            path = tiles.inclusion_path(index, within, view.tile)
            return Inclusion(index, within, tiles.leaf(index, view.tile), path, note)

        return await self._read(prove)

    async def consistency(self, first: int, second: int) -> Consistency:
        """Proves that a tree begins another one; 0 as the second means that of the newest checkpoint.

        Raises:
            AssayError: FIELD_INVALID for sizes in the wrong order or not signed, PROOF_PENDING, LOG_DAMAGED,
                PART_UNAVAILABLE.
        """

        def prove(view: View) -> Consistency:
            newest, note = self._newest(view)
            larger = _within("second_size", second, 1 if newest.size else 0, newest.size)
            if not 0 <= first <= larger:
                raise AssayError(Reason.FIELD_INVALID, field="first_size", value=first, limit=f"0 to {larger}")
            return Consistency(first, larger, tiles.consistency_path(first, larger, view.tile), note)

        return await self._read(prove)

    async def entries(self, start: int, size: int, records: bool) -> Sequence[Entry]:
        """Returns at most `size` entries from index `start` on, 0 for 1,000; fewer large ones; none at the log's end.

        Raises:
            AssayError: FIELD_INVALID for a negative index or size, PART_UNAVAILABLE.
        """
        if not 0 <= start < 2**63 - MAX_PAGE_SIZE:
            raise AssayError(
                Reason.FIELD_INVALID, field="start_index", value=start, limit="0 or more, an entry's index"
            )
        if size < 0:
            raise AssayError(Reason.FIELD_INVALID, field="page_size", value=size, limit=f"0 to {MAX_PAGE_SIZE}")
        return await self.store.entries(start, min(size or MAX_PAGE_SIZE, MAX_PAGE_SIZE), records)

    def _newest(self, view: View) -> tuple[Checkpoint, str]:
        note = view.newest_checkpoint()
        if note is None:
            raise AssayError(Reason.PROOF_PENDING)
        try:
            return open_note(note, [self.verifier]), note
        except NoteInvalid:
            raise AssayError(Reason.LOG_DAMAGED, place="the newest checkpoint") from None

    async def _read(self, work: Callable[[View], Result]) -> Result:
        try:
            return await self.store.view(work)
        except TreeDamaged as fault:
            raise AssayError(Reason.LOG_DAMAGED, place=fault) from fault


def _within(field: str, size: int, least: int, most: int) -> int:
    if size == 0:
        return most
    if not least <= size <= most:
        raise AssayError(
            Reason.FIELD_INVALID, field=field, value=size, limit=f"{least} to {most}, the newest checkpoint's size"
        )
    return size


def require_consistent(older: Checkpoint, view: View) -> None:
    """Returns when the stored tree still begins with the one of an older checkpoint.

    Raises:
        TreeBroken: it is shorter, damaged, or its beginning has another root.
    """
    size = view.size()
    if size < older.size:
        raise TreeBroken(f"the log has {size} entries, and a signed checkpoint says that it had {older.size}")
    try:
        root = tiles.root(older.size, view.tile)
    except TreeDamaged as fault:
        raise TreeBroken(str(fault)) from fault
    if root != older.root:
        raise TreeBroken(f"the first {older.size} entries are not those of the signed checkpoint")
