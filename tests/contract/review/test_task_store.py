"""What every store of review tasks promises, run on the one in memory and on SQLite."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.kernel.stores import Stored
from services.review.adapters.sqlite import SqliteTaskStore, page_query
from services.review.ports import TaskStore
from services.review.tasks import State, Task, TaskQuery, TaskRequest
from tests.fixtures.stores import MemoryTaskStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TaskStore]:
    clock = itertools.count(1)
    made: TaskStore = (
        MemoryTaskStore() if request.param == "memory" else SqliteTaskStore(tmp_path / "a.sqlite3", lambda: next(clock))
    )
    yield made
    await made.close()


def task_request(number: int) -> TaskRequest:
    return TaskRequest(f"t{number:03}", ("banking", "triage")[number % 2], ("a", "b", "c")[number % 3], b"%d" % number)


async def test_task_is_opened_once(store: TaskStore) -> None:
    request = task_request(1)
    assert await store.get(request.task_id) is None
    assert await store.put([request, request]) == [Stored.NEW, Stored.REPEAT]
    opened = await store.get(request.task_id)
    assert opened == Task(request, State.OPEN, 1)
    assert await store.put([request]) == [Stored.REPEAT]
    assert await store.put([replace(request, request=b"other")]) == [Stored.CONFLICT]
    assert await store.get(request.task_id) == opened


@pytest.mark.parametrize(
    "query",
    [
        TaskQuery(),
        TaskQuery(state=State.OPEN),
        TaskQuery(model="triage"),
        TaskQuery(industry="c"),
        TaskQuery(State.OPEN, "banking", "a"),
        TaskQuery(model="none"),
    ],
)
async def test_pages_are_newest_first_and_complete(store: TaskStore, query: TaskQuery) -> None:
    requests = [task_request(number) for number in range(40)]
    for start in range(0, 40, 8):  # tasks of one put have one time
        await store.put(requests[start : start + 8])
    got: list[Task] = []
    while page := await store.page(query, (got[-1].create_time, got[-1].request.task_id) if got else None, 3):
        assert len(page) <= 3
        got += page
    assert [task.request for task in got] == [
        request
        for request in reversed(requests)
        if query.model in (None, request.model) and query.industry in (None, request.industry)
    ]


async def test_ping_changes_nothing(store: TaskStore) -> None:
    await store.ping()
    assert await store.page(TaskQuery(), None, 10) == []


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (TaskQuery(), "tasks_by_time"),
        (TaskQuery(state=State.OPEN), "tasks_by_state"),
        (TaskQuery(model="a"), "tasks_by_model"),
        (TaskQuery(industry="a"), "tasks_by_industry"),
    ],
)
async def test_every_filter_has_its_index(tmp_path: Path, query: TaskQuery, index: str) -> None:
    store = SqliteTaskStore(tmp_path / "a.sqlite3")
    await store.ping()
    await store.close()
    statement, values = page_query(query, (5, "t"), 10)
    connection = sqlite3.connect(tmp_path / "a.sqlite3")
    plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))
    connection.close()
    assert index in plan
    assert "TEMP B-TREE" not in plan
