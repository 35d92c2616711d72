"""What is done to the contents of the log, in the SQL database that holds it: holds, erasure, expiry, the archive."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from services.audit import actions
from services.audit.adapters import leaps
from services.audit.adapters.store import SqlEventStore
from services.audit.custody import MOST_RANGES, Erased, Held, Hold, Person, Span
from services.audit.events import Arrival, State
from services.audit.months import Month
from services.kernel.sql import Transaction
from services.kernel.stores import StoreUnavailable

Result = TypeVar("Result")
Intact = Callable[[], Awaitable[None]]
Shrink = Callable[[Transaction, int, Collection[Month]], None]

_log = logging.getLogger(__name__)

_COVERS = (
    "holds.tenant = entries.tenant AND (holds.caller = '' OR holds.caller = entries.caller)"
    " AND entries.append_time >= holds.start_time AND entries.append_time < holds.end_time"
)
# What an operator did stays: it explains what is missing.
_FREE = f"outcome <> 'action' AND NOT EXISTS (SELECT 1 FROM holds WHERE {_COVERS})"  # noqa: S608
_HOLD = "hold_id, tenant, caller, start_time, end_time, note, create_time"


class SqlCustody:
    """CustodyStore over the database of an event store."""

    def __init__(
        self,
        store: SqlEventStore,
        require_intact: Intact,
        *,
        scrub: Callable[[], None] = lambda: None,
        shrink: Shrink = lambda transaction, horizon, touched: None,
    ) -> None:
        """`require_intact` returns when the log may be appended to. `scrub` wipes what a destroyed key may have left
        behind; `shrink` gives back the room of months before a time, of which those that were touched lost contents.
        """
        self._store = store
        self._require_intact = require_intact
        self._scrub = scrub
        self._shrink = shrink
        self._touched: set[Month] = set()

    async def place(self, hold: Hold, operator: str) -> None:
        def place(transaction: Transaction, now: int) -> None:
            transaction.execute(
                f"INSERT INTO holds ({_HOLD}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                (hold.hold_id, hold.tenant, hold.caller, hold.start, hold.end, hold.note, hold.create_time),
            )
            self._append(transaction, actions.hold_placed(hold, operator, now))

        await self._write(place)

    async def release(self, hold_id: str, operator: str) -> Hold | None:
        def release(transaction: Transaction, now: int) -> Hold | None:
            row = transaction.execute(f"SELECT {_HOLD} FROM holds WHERE hold_id = ?", (hold_id,)).fetchone()  # noqa: S608
            if row is None:
                return None
            transaction.execute("DELETE FROM holds WHERE hold_id = ?", (hold_id,))
            self._append(transaction, actions.hold_released(_hold(*row), operator, now))
            return _hold(*row)

        return await self._write(release)

    async def holds(self) -> Sequence[Hold]:
        every = f"SELECT {_HOLD} FROM holds ORDER BY create_time, hold_id"  # noqa: S608
        rows = await self._store.database.read(lambda transaction: transaction.execute(every).fetchall())
        return [_hold(*row) for row in rows]

    async def erase(self, person: Person, note: str, operator: str) -> Erased:
        erased = await self._write(lambda transaction, now: self._erase(transaction, now, person, note, operator))
        if erased.event_id:
            self._store.vault.forget()
            await asyncio.to_thread(self._scrub)
        return erased

    def _erase(self, transaction: Transaction, now: int, person: Person, note: str, operator: str) -> Erased:
        known = self._store.vault.person(person.tenant, str(person))
        row = transaction.execute("SELECT key_id FROM person_keys WHERE person = ?", (known,)).fetchone()
        if row is None:
            return Erased("", 0)
        (key_id,) = row
        covering = transaction.execute(
            f"SELECT hold_id FROM holds JOIN entries ON {_COVERS} WHERE entries.key_id = ? LIMIT 1",  # noqa: S608
            (key_id,),
        ).fetchone()
        if covering is None:
            # What is archived has no row any more, so a hold that may cover it counts as one that does.
            covering = transaction.execute(
                "SELECT hold_id FROM holds WHERE tenant = ? AND (caller = '' OR caller = ? OR ? <> '')"
                " AND EXISTS (SELECT 1 FROM archived_keys WHERE key_id = ?) LIMIT 1",
                (person.tenant, person.caller, person.subject, key_id),
            ).fetchone()
        if covering is not None:
            raise Held(covering[0])
        blank = "UPDATE entries SET caller = '', request_id = '', subject = '' WHERE key_id = ?"
        events = transaction.execute(blank, (key_id,)).rowcount
        transaction.execute("DELETE FROM person_keys WHERE key_id = ?", (key_id,))
        transaction.execute("DELETE FROM archived_keys WHERE key_id = ?", (key_id,))
        said = actions.person_erased(key_id, person.tenant, events, note, operator, now)
        self._append(transaction, said)
        return Erased(said.event_id, events)

    async def see(self, now: int) -> int:
        return await self._store.database.write(lambda transaction: leaps.see(transaction, now))

    async def trust(self, now: int) -> None:
        await self._store.database.write(lambda transaction: leaps.trust(transaction, now))

    async def expire(self, horizon: int, limit: int, operator: str) -> int:
        def expire(transaction: Transaction, now: int) -> int:
            rows = transaction.execute(
                "SELECT idx, append_time, create_time, event_id, key_id FROM entries"  # noqa: S608
                f" WHERE append_time < ? AND {_FREE} ORDER BY append_time, idx LIMIT ?",
                (horizon, limit),
            ).fetchall()
            spans = _spans([row[0] for row in rows])[:MOST_RANGES]
            if not spans:
                return 0
            rows = rows[: sum(span.end - span.start for span in spans)]
            transaction.execute("UPDATE head SET horizon = ? WHERE horizon < ?", (horizon, horizon))
            self._remove(transaction, spans, rows[0][1], rows[-1][1], State.EXPIRED)
            # An event that is older than the horizon is not taken again, so its id may be forgotten. One that says that
            # it is younger, by a clock that went ahead, could come again: its id stays until that time is over.
            old = [(event_id,) for _, _, create_time, event_id, _ in rows if create_time < horizon]
            ahead = [(create_time, event_id) for _, _, create_time, event_id, _ in rows if create_time >= horizon]
            transaction.executemany("DELETE FROM event_ids WHERE event_id = ?", old)
            transaction.executemany("UPDATE event_ids SET append_time = ? WHERE event_id = ?", ahead)
            transaction.executemany(
                "DELETE FROM person_keys WHERE key_id = ?"
                " AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.key_id = person_keys.key_id)"
                " AND NOT EXISTS (SELECT 1 FROM archived_keys WHERE archived_keys.key_id = person_keys.key_id)",
                [(key_id,) for key_id in {row[4] for row in rows} if key_id],
            )
            self._append(transaction, actions.contents_expired(spans, horizon, operator, now))
            return len(rows)

        return await self._write(expire)

    async def tidy(self, horizon: int) -> None:
        def tidy(transaction: Transaction, now: int) -> None:
            known = transaction.execute("SELECT horizon FROM head").fetchone()[0]
            transaction.execute(
                "DELETE FROM event_ids WHERE append_time < ? AND NOT EXISTS (SELECT 1 FROM entries"
                " WHERE entries.idx = event_ids.idx AND entries.append_time = event_ids.append_time)",
                (known,),
            )
            self._shrink(transaction, horizon, self._touched)

        await self._write(tidy)
        self._touched = {month for month in self._touched if month.end > horizon}

    async def has_older(self, time: int) -> bool:
        find = f"SELECT 1 FROM entries WHERE append_time < ? AND {_FREE} LIMIT 1"  # noqa: S608
        row = await self._store.database.read(lambda transaction: transaction.execute(find, (time,)).fetchone())
        return row is not None

    async def movable(self, start: int, end: int, after: int, limit: int) -> Sequence[Span]:
        find = (
            "SELECT idx FROM entries WHERE append_time >= ? AND append_time < ? AND idx > ?"  # noqa: S608
            f" AND {_FREE} ORDER BY append_time, idx LIMIT ?"
        )
        values = (start, end, after, limit)
        rows = await self._store.database.read(lambda transaction: transaction.execute(find, values).fetchall())
        return _spans([row[0] for row in rows])[:MOST_RANGES]

    async def oldest(self) -> int | None:
        find = f"SELECT append_time FROM entries WHERE {_FREE} ORDER BY append_time LIMIT 1"  # noqa: S608
        row = await self._store.database.read(lambda transaction: transaction.execute(find).fetchone())
        return None if row is None else int(row[0])

    async def move(self, spans: Sequence[Span], name: str, sha256: bytes, operator: str) -> bool:
        def move(transaction: Transaction, now: int) -> bool:
            there, first, last = 0, 0, 0
            count = f"SELECT COUNT(*), MIN(append_time), MAX(append_time) FROM entries WHERE idx >= ? AND idx < ? AND {_FREE}"  # noqa: S608, E501
            for span in spans:
                found, oldest, newest = transaction.execute(count, span).fetchone()
                if found != span.end - span.start:
                    return False
                first, last = (first if there else oldest), newest
                there += found
            within = "FROM entries WHERE idx >= ? AND idx < ?"
            transaction.executemany(
                f"INSERT INTO archived_keys SELECT DISTINCT key_id {within} AND key_id <> ''"
                " ON CONFLICT (key_id) DO NOTHING",
                spans,
            )
            # The ids stay until the horizon has passed them, so that an event that comes again is known.
            transaction.executemany(
                "UPDATE event_ids SET append_time = (SELECT create_time FROM entries WHERE entries.event_id ="  # noqa: S608
                f" event_ids.event_id) WHERE event_id IN (SELECT event_id {within} AND create_time > append_time)",
                spans,
            )
            self._remove(transaction, spans, first, last, State.ARCHIVED)
            self._append(transaction, actions.contents_archived(spans, name, sha256, operator, now))
            return True

        return await self._write(move)

    async def _write(self, work: Callable[[Transaction, int], Result]) -> Result:
        """Runs `work` with the time of what it says, in a transaction that alone may append."""
        await self._require_intact()

        def write(transaction: Transaction) -> Result:
            transaction.execute("UPDATE head SET one = 1")  # whoever appends waits
            horizon = transaction.execute("SELECT horizon FROM head").fetchone()[0]
            return work(transaction, max(self._store.clock(), horizon))

        return await self._store.database.write(write)

    def _remove(self, transaction: Transaction, spans: Sequence[Span], first: int, last: int, state: State) -> None:
        """Removes the rows of entries that were appended from `first` to `last`, and notes where they went."""
        month = Month.of(first)
        while month.start <= last:
            self._touched.add(month)
            month = month.next
        transaction.executemany(
            "DELETE FROM entries WHERE idx >= ? AND idx < ? AND append_time >= ? AND append_time <= ?",
            [(*span, first, last) for span in spans],
        )
        for span in spans:
            start, end = span
            before = transaction.execute(
                "SELECT start_idx, end_idx, state FROM removed WHERE start_idx < ? ORDER BY start_idx DESC LIMIT 1",
                (start,),
            ).fetchone()
            if before is not None and tuple(before[1:]) == (start, int(state)):
                start = before[0]
                transaction.execute("DELETE FROM removed WHERE start_idx = ?", (start,))
            behind = transaction.execute("SELECT end_idx, state FROM removed WHERE start_idx = ?", (end,)).fetchone()
            if behind is not None and behind[1] == int(state):
                transaction.execute("DELETE FROM removed WHERE start_idx = ?", (end,))
                end = behind[0]
            transaction.execute("INSERT INTO removed VALUES (?, ?, ?)", (start, end, int(state)))

    def _append(self, transaction: Transaction, said: Arrival) -> None:
        self._store.append(transaction, [said])


def empty_log(path: Path) -> None:
    """Moves the write-ahead log of a SQLite file into it and cuts the log to nothing: old pages are still in there."""
    try:
        with closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as connection:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as fault:
        raise StoreUnavailable("audit store") from fault
    if busy:
        _log.warning("the write-ahead log could not be emptied; what was erased leaves it as it is written over")


def _hold(hold_id: str, tenant: str, caller: str, start: int, end: int, note: str, create_time: int) -> Hold:
    return Hold(tenant, caller, start, end, note, hold_id, create_time)


def _spans(indexes: Sequence[int]) -> list[Span]:
    """Returns ascending indexes as ranges, none touching another."""
    spans: list[Span] = []
    for index in indexes:
        if spans and spans[-1].end == index:
            spans[-1] = Span(spans[-1].start, index + 1)
        else:
            spans.append(Span(index, index + 1))
    return spans
