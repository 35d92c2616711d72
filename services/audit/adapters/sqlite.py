"""The audit log's store in a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from services.audit.events import EventQuery, EventRecord
from services.kernel import sqlite
from services.kernel.paging import Position
from services.kernel.stores import DeadLetter, Stored

_EVENTS = (
    """CREATE TABLE events (
        event_id TEXT PRIMARY KEY,
        create_time INTEGER NOT NULL,
        caller TEXT NOT NULL,
        request_id TEXT NOT NULL,
        model TEXT NOT NULL,
        event BLOB NOT NULL
    )""",
    "CREATE UNIQUE INDEX events_by_time ON events (create_time, event_id)",
    "CREATE INDEX events_by_caller ON events (caller, create_time, event_id)",
    "CREATE INDEX events_by_request ON events (request_id, create_time, event_id)",
    "CREATE INDEX events_by_model ON events (model, create_time, event_id)",
)
_COLUMNS = ("event_id", "create_time", "caller", "request_id", "model", "event")
_GET = f"SELECT {', '.join(_COLUMNS)} FROM events WHERE event_id = ?"  # noqa: S608


class SqliteEventStore:
    """EventStore; opens the file when it is first asked."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite.Database("audit store", path, [sqlite.DEAD_LETTERS, _EVENTS])

    async def put(self, items: Sequence[EventRecord]) -> Sequence[Stored]:
        def insert(connection: sqlite3.Connection) -> list[Stored]:
            return [sqlite.put_once(connection, "events", "event_id", "event", asdict(item)) for item in items]

        return await self._database.write(insert)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        await sqlite.bury(self._database, letters)

    async def get(self, event_id: str) -> EventRecord | None:
        rows = await self._database.read(partial(_fetch, _GET, [event_id]))
        return rows[0] if rows else None

    async def page(self, query: EventQuery, after: Position | None, limit: int) -> Sequence[EventRecord]:
        statement, values = page_query(query, after, limit)
        return await self._database.read(partial(_fetch, statement, values))

    async def ping(self) -> None:
        await self._database.ping()

    async def close(self) -> None:
        await self._database.close()


def page_query(query: EventQuery, after: Position | None, limit: int) -> tuple[str, list[sqlite.Value]]:
    """Returns the statement of a page and its parameters."""
    conditions = [
        ("caller = ?", query.caller),
        ("request_id = ?", query.request_id),
        ("model = ?", query.model),
        ("create_time >= ?", query.start),
        ("create_time < ?", query.end),
    ]
    return sqlite.newest_first("events", _COLUMNS, ("create_time", "event_id"), conditions, after, limit)


def _fetch(statement: str, values: Sequence[sqlite.Value], connection: sqlite3.Connection) -> list[EventRecord]:
    return [EventRecord(*row) for row in connection.execute(statement, values)]
