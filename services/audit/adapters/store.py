"""The audit log in a SQL database: the statements that SQLite and PostgreSQL both speak."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from services.audit.adapters.search import page_query
from services.audit.events import Arrival, Entry, EventQuery, LoggedEvent, State
from services.audit.merkle import tiles
from services.audit.merkle.hashing import HASH_BYTES, leaf_hash
from services.audit.merkle.tiles import TILE_WIDTH, ReadTile, TreeDamaged
from services.audit.ports import EntryDamaged, TreeBroken, View
from services.audit.records import RecordUnreadable, event_of, is_personal, record_of
from services.audit.vault import Key, Vault, WrongKey
from services.kernel.paging import MAX_PAGE_BYTES, Position
from services.kernel.sql import Database, Transaction, Value, marks
from services.kernel.stores import Refused, Stored

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

_FOUND = "entries.idx, entries.event_id, entries.create_time, entries.record, keys.key_id, keys.wrapped"
_WITH_KEYS = "LEFT JOIN person_keys AS keys ON keys.key_id = entries.key_id"
_GET = (
    f"SELECT {_FOUND} FROM event_ids JOIN entries ON entries.idx = event_ids.idx"  # noqa: S608
    f" AND entries.append_time = event_ids.append_time {_WITH_KEYS} WHERE event_ids.event_id = ?"
)
_ADD_ENTRY = f"INSERT INTO entries VALUES ({marks(15)})"  # noqa: S608
_ADD_ID = "INSERT INTO event_ids VALUES (?, ?, ?, ?)"
_ADD_KEY = "INSERT INTO person_keys VALUES (?, ?, ?, ?, ?)"
_PUT_TILE = "INSERT INTO tiles VALUES (?, ?, ?) ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes"
_PUT_CHECKPOINT = "INSERT INTO checkpoints VALUES (?, ?, ?) ON CONFLICT (size) DO NOTHING"
_CHECKPOINTS_KEPT = 1000


class SqlEventStore:
    """EventStore over a database with the tables of schema.py."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        *,
        locking: str = "",
        prepare: Callable[[Transaction, int], None] = lambda transaction, append_time: None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """`locking` is put behind the reading of the head's row, so that one transaction appends at a time; `prepare`
        makes room for entries of a time; `clock` gives Unix nanoseconds.
        """
        self.database = database
        self.vault = vault
        self.clock = clock
        self._head = f"SELECT size, append_time, horizon, vault FROM head{locking}"  # noqa: S608
        self._prepare = prepare

    async def put(self, items: Sequence[Arrival]) -> Sequence[Stored]:
        return await self.database.write(lambda transaction: self.append(transaction, items)) if items else []

    def append(self, transaction: Transaction, items: Sequence[Arrival]) -> list[Stored]:
        """Appends what is new of the items, inside a transaction that may do more.

        Raises:
            Refused: one of them can't be stored, ever; the transaction must be undone.
            TreeBroken: the tree can't be continued; so must it be.
        """
        size, newest, horizon, vault = transaction.execute(self._head).fetchone()
        if vault is not None and bytes(vault) != self.vault.fingerprint:
            raise TreeBroken("the key file is not the one that this log was begun with; put the right one back")
        digests = [self.vault.digest(item.payload) for item in items]
        held = self._held(transaction, items)
        ends: list[Stored] = []
        fresh: list[tuple[Arrival, bytes]] = []
        for item, digest in zip(items, digests, strict=True):
            if item.event_id in held:
                ends.append(Stored.REPEAT if held[item.event_id] == digest else Stored.CONFLICT)
                continue
            if item.create_time < horizon:
                # It may have been here and be removed; taking it would make a second leaf of it.
                raise Refused("older than the retention")
            held[item.event_id] = digest
            fresh.append((item, digest))
            ends.append(Stored.NEW)
        if fresh:
            self._add(transaction, fresh, size, max(newest, self.clock()))
        return ends

    def _held(self, transaction: Transaction, items: Sequence[Arrival]) -> dict[str, bytes]:
        ids = sorted({item.event_id for item in items})
        found = f"SELECT event_id, digest FROM event_ids WHERE event_id IN ({marks(len(ids))})"  # noqa: S608
        return {event_id: bytes(digest) for event_id, digest in transaction.execute(found, ids)}

    def _add(
        self, transaction: Transaction, fresh: Sequence[tuple[Arrival, bytes]], size: int, append_time: int
    ) -> None:
        self._prepare(transaction, append_time)
        keys = self._keys(transaction, [item for item, _ in fresh], append_time)
        entries: list[Sequence[Value]] = []
        leaves: list[bytes] = []
        for index, (item, _) in enumerate(fresh, size):
            key = keys.get((item.tenant, item.person)) if is_personal(item.outcome) else None
            record = record_of(item.payload, append_time, key)
            leaves.append(leaf_hash(record))
            entries.append(_row(index, item, append_time, key.key_id if key else "", record))
        try:
            changed = tiles.append(size, leaves, partial(_tile, transaction))
        except TreeDamaged as fault:
            raise TreeBroken(str(fault)) from fault
        transaction.executemany(_ADD_ENTRY, entries)
        transaction.executemany(
            _ADD_ID,
            [(item.event_id, index, append_time, digest) for index, (item, digest) in enumerate(fresh, size)],
        )
        transaction.executemany(_PUT_TILE, [(*place, hashes) for place, hashes in changed.items()])
        transaction.execute(
            "UPDATE head SET size = ?, append_time = ?, vault = ?",
            (size + len(fresh), append_time, self.vault.fingerprint),
        )

    def _keys(self, transaction: Transaction, items: Sequence[Arrival], now: int) -> Mapping[tuple[str, str], Key]:
        """Returns the key of each person, a new one for whom there is none."""
        wanted = {
            self.vault.person(item.tenant, item.person): (item.tenant, item.person)
            for item in items
            if is_personal(item.outcome)
        }
        if not wanted:
            return {}
        found = f"SELECT person, key_id, wrapped FROM person_keys WHERE person IN ({marks(len(wanted))})"  # noqa: S608
        held = {
            bytes(person): (key_id, bytes(wrapped))
            for person, key_id, wrapped in transaction.execute(found, sorted(wanted))
        }
        keys: dict[tuple[str, str], Key] = {}
        for person, kept in held.items():
            try:
                keys[wanted[person]] = self.vault.key(*kept)
            except WrongKey:
                # Nothing sealed with it will ever be read again, but no event of the person may wait for that.
                _log.error("a person's key can't be opened; a new one is made", extra={"key_id": kept[0]})
                aside = self.vault.person("", f"key {kept[0]}")
                transaction.execute("UPDATE person_keys SET person = ? WHERE key_id = ?", (aside, kept[0]))
        made = {person: self.vault.new_key() for person in wanted if wanted[person] not in keys}
        transaction.executemany(
            _ADD_KEY,
            [(key_id, wanted[person][0], person, wrapped, now) for person, (key_id, wrapped) in made.items()],
        )
        return keys | {wanted[person]: self.vault.key(*kept) for person, kept in made.items()}

    async def get(self, event_id: str) -> LoggedEvent | None:
        rows = await self.database.read(lambda transaction: transaction.execute(_GET, (event_id,)).fetchall())
        # Under the id that was asked for: the row may name another, if somebody led the id to it.
        return self._event(rows[0][0], event_id, *rows[0][2:]) if rows else None

    async def page(self, query: EventQuery, after: Position | None, limit: int) -> Sequence[LoggedEvent]:
        statement, values = page_query(_FOUND, _WITH_KEYS, query, after, limit)
        rows = await self.database.read(lambda transaction: transaction.execute(statement, values).fetchall())
        return [self._event(*row) for row in rows]

    def _event(
        self, index: int, event_id: str, create_time: int, record: bytes, key_id: str | None, wrapped: bytes | None
    ) -> LoggedEvent:
        try:
            key = self.vault.key(key_id, bytes(wrapped)) if key_id and wrapped else None
            return LoggedEvent(index, event_id, create_time, event_of(bytes(record), event_id, key))
        except (WrongKey, RecordUnreadable):
            raise EntryDamaged(index) from None

    async def entries(self, start: int, limit: int, records: bool) -> Sequence[Entry]:
        return await self.database.read(lambda transaction: _entries(transaction, start, limit, records))

    async def view(self, work: Callable[[View], Result]) -> Result:
        return await self.database.read(lambda transaction: work(_View(transaction)))

    async def tree(self, work: Callable[[int, ReadTile], Result]) -> Result:
        """Runs `work` with the log's size and its tiles, as `view` does."""
        return await self.view(lambda view: work(view.size(), view.tile))

    async def index_of(self, event_id: str) -> int | None:
        """Returns View.index_of of the log as it is now."""
        return await self.view(lambda view: view.index_of(event_id))

    async def newest_checkpoint(self) -> str | None:
        """Returns View.newest_checkpoint of the log as it is now."""
        return await self.view(lambda view: view.newest_checkpoint())

    async def save_checkpoint(self, size: int, note: str) -> None:
        def save(transaction: Transaction) -> None:
            transaction.execute(_PUT_CHECKPOINT, (size, note, self.clock()))
            # Every one is published; here the newest matter, and the table stays small.
            transaction.execute(
                "DELETE FROM checkpoints WHERE size <"
                " (SELECT MIN(size) FROM (SELECT size FROM checkpoints ORDER BY size DESC LIMIT ?) AS kept)",
                (_CHECKPOINTS_KEPT,),
            )

        await self.database.write(save)

    async def ping(self) -> None:
        await self.database.ping()

    async def close(self) -> None:
        await self.database.close()


class _View:
    """View of a transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def size(self) -> int:
        return _size(self._transaction)

    def tile(self, level: int, number: int) -> bytes:
        return _tile(self._transaction, level, number)

    def index_of(self, event_id: str) -> int | None:
        row = self._transaction.execute("SELECT idx FROM event_ids WHERE event_id = ?", (event_id,)).fetchone()
        return row[0] if row else None

    def newest_checkpoint(self) -> str | None:
        row = self._transaction.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        return row[0] if row else None


def _row(index: int, item: Arrival, append_time: int, key_id: str, record: bytes) -> Sequence[Value]:
    return (
        index,
        append_time,
        item.event_id,
        item.create_time,
        item.tenant,
        item.caller,
        item.subject,
        item.request_id,
        item.model,
        item.label,
        item.outcome,
        item.reason,
        item.confidence,
        key_id,
        record,
    )


def _size(transaction: Transaction) -> int:
    return int(transaction.execute("SELECT size FROM head").fetchone()[0])


def _tile(transaction: Transaction, level: int, number: int) -> bytes:
    find = "SELECT hashes FROM tiles WHERE level = ? AND number = ?"
    row = transaction.execute(find, (level, number)).fetchone()
    return bytes(row[0]) if row else b""


def _entries(transaction: Transaction, start: int, limit: int, records: bool) -> list[Entry]:
    end = min(_size(transaction), start + limit)
    if start >= end:
        return []
    find = (
        f"SELECT idx, {'record' if records else 'NULL'} FROM entries"  # noqa: S608
        " WHERE idx >= ? AND idx < ? ORDER BY idx"
    )
    present: dict[int, bytes] = {}
    total = 0
    for index, record in transaction.execute(find, (start, end)):
        total += len(record or b"")
        if total > MAX_PAGE_BYTES and present:
            end = index
            break
        present[index] = bytes(record or b"")
    first = start // TILE_WIDTH
    leaves = b"".join(_tile(transaction, 0, number) for number in range(first, (end - 1) // TILE_WIDTH + 1))
    gone: dict[int, State] = {}
    if len(present) < end - start:
        ranges = "SELECT start_idx, end_idx, state FROM removed WHERE start_idx < ? AND end_idx > ?"
        for begin, behind, state in transaction.execute(ranges, (end, start)):
            gone |= dict.fromkeys(range(max(begin, start), min(behind, end)), State(state))
    found = []
    for index in range(start, end):
        at = (index - first * TILE_WIDTH) * HASH_BYTES
        state = State.PRESENT if index in present else gone.get(index, State.PRESENT)
        found.append(Entry(index, leaves[at : at + HASH_BYTES], present.get(index, b""), state))
    return found
