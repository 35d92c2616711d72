"""The review tasks' store in a SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from services.kernel import sqlite
from services.kernel.paging import Position
from services.kernel.stores import Stored
from services.review.tasks import State, Task, TaskQuery, TaskRequest

_TASKS = (
    """CREATE TABLE tasks (
        task_id TEXT PRIMARY KEY,
        create_time INTEGER NOT NULL,
        state TEXT NOT NULL,
        model TEXT NOT NULL,
        industry TEXT NOT NULL,
        request BLOB NOT NULL
    )""",
    "CREATE UNIQUE INDEX tasks_by_time ON tasks (create_time, task_id)",
    "CREATE INDEX tasks_by_state ON tasks (state, create_time, task_id)",
    "CREATE INDEX tasks_by_model ON tasks (model, create_time, task_id)",
    "CREATE INDEX tasks_by_industry ON tasks (industry, create_time, task_id)",
)
_COLUMNS = ("task_id", "model", "industry", "request", "state", "create_time")
_GET = f"SELECT {', '.join(_COLUMNS)} FROM tasks WHERE task_id = ?"  # noqa: S608


class SqliteTaskStore:
    """TaskStore; opens the file when it is first asked. `clock` gives Unix nanoseconds."""

    def __init__(self, path: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self._database = sqlite.Database("review store", path, [_TASKS])
        self._clock = clock

    async def put(self, items: Sequence[TaskRequest]) -> Sequence[Stored]:
        opened = {"state": State.OPEN.value, "create_time": self._clock()}

        def insert(connection: sqlite3.Connection) -> list[Stored]:
            rows = [asdict(item) | opened for item in items]
            return [sqlite.put_once(connection, "tasks", "task_id", "request", row) for row in rows]

        return await self._database.write(insert)

    async def get(self, task_id: str) -> Task | None:
        rows = await self._database.read(partial(_fetch, _GET, [task_id]))
        return rows[0] if rows else None

    async def page(self, query: TaskQuery, after: Position | None, limit: int) -> Sequence[Task]:
        statement, values = page_query(query, after, limit)
        return await self._database.read(partial(_fetch, statement, values))

    async def ping(self) -> None:
        await self._database.ping()

    async def close(self) -> None:
        await self._database.close()


def page_query(query: TaskQuery, after: Position | None, limit: int) -> tuple[str, list[sqlite.Value]]:
    """Returns the statement of a page and its parameters."""
    conditions = [("state = ?", query.state), ("model = ?", query.model), ("industry = ?", query.industry)]
    return sqlite.newest_first("tasks", _COLUMNS, ("create_time", "task_id"), conditions, after, limit)


def _fetch(statement: str, values: Sequence[sqlite.Value], connection: sqlite3.Connection) -> list[Task]:
    return [
        Task(TaskRequest(task_id, model, industry, request), State(state), create_time)
        for task_id, model, industry, request, state, create_time in connection.execute(statement, values)
    ]
