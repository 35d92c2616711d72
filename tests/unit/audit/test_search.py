"""How pages are found in SQLite: by an index that gives them in their order, whatever is asked."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from services.audit.adapters.search import page_query
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.events import EventQuery
from tests.fixtures.audit import vault


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (EventQuery(), "entries_by_time"),
        (EventQuery(start=1, end=2), "entries_by_time"),
        (EventQuery(min_confidence=0.5), "entries_by_time"),
        (EventQuery(tenant="a"), "entries_by_tenant"),
        (EventQuery(caller="a", end=2), "entries_by_caller"),
        (EventQuery(subject="a"), "entries_by_subject"),
        (EventQuery(request_id="a"), "entries_by_request_id"),
        (EventQuery(model="a", start=1), "entries_by_model"),
        (EventQuery(label="a", max_confidence=0.5), "entries_by_label"),
        (EventQuery(outcome="answer"), "entries_by_outcome"),
        (EventQuery(reason="TEXT_BLANK"), "entries_by_reason"),
    ],
)
@pytest.mark.parametrize("after", [None, (5, "e")])
async def test_every_filter_has_its_index(
    tmp_path: Path, query: EventQuery, index: str, after: tuple[int, str] | None
) -> None:
    path = tmp_path / "audit.sqlite3"
    store = SqliteEventStore(path, vault())
    await store.ping()
    await store.close()
    statement, values = page_query("entries.idx", "", query, after, 10)
    connection = sqlite3.connect(path)
    plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))
    connection.close()
    assert re.search(rf"USING (COVERING )?INDEX {index}\b", plan)
    assert "TEMP B-TREE" not in plan
