from __future__ import annotations

from pathlib import Path

import pytest
from assay.audit.v1 import audit_pb2

from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.events import EventQuery
from services.audit.log import AuditLog
from services.kernel.errors import AssayError, Reason
from tests.fixtures.audit import arrivals, audit_event, vault


@pytest.fixture
async def log(store: SqliteEventStore) -> AuditLog:
    await store.put(arrivals([audit_event(number) for number in range(10)]))
    return AuditLog(store)


async def test_pages_cover_everything_once_newest_first(log: AuditLog) -> None:
    seen: list[str] = []
    token = ""
    for _ in range(4):
        page, token = await log.page(EventQuery(), 3, token)
        seen += [logged.event_id for logged in page]
    assert not token
    assert seen == [f"e{number:06}" for number in reversed(range(10))]


async def test_last_page_that_is_full_has_no_token(log: AuditLog) -> None:
    page, token = await log.page(EventQuery(), 10, "")
    assert (len(page), token) == (10, "")


async def test_token_of_other_filters_is_refused(log: AuditLog) -> None:
    _, token = await log.page(EventQuery(tenant="acme"), 2, "")
    assert token
    for query in (EventQuery(), EventQuery(tenant="b"), EventQuery(request_id="a"), EventQuery(min_confidence=0.5)):
        with pytest.raises(AssayError) as caught:
            await log.page(query, 2, token)
        assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (EventQuery(start=2, end=1), "end_time"),
        (EventQuery(min_confidence=0.5, max_confidence=0.25), "max_confidence"),
    ],
)
async def test_range_that_ends_before_it_starts_is_refused(log: AuditLog, query: EventQuery, field: str) -> None:
    with pytest.raises(AssayError) as caught:
        await log.page(query, 2, "")
    assert caught.value.reason is Reason.FIELD_INVALID
    assert caught.value.metadata["field"] == field


async def test_empty_range_is_none(log: AuditLog) -> None:
    assert await log.page(EventQuery(start=1, end=1), 2, "") == ([], "")
    assert await log.page(EventQuery(min_confidence=0.5, max_confidence=0.5), 2, "") == ([], "")


async def test_get(log: AuditLog) -> None:
    logged = await log.get("e000001")
    assert audit_pb2.AuditEvent.FromString(logged.event) == audit_event(1)
    with pytest.raises(AssayError) as caught:
        await log.get("")
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.FIELD_INVALID, "event_id")
    for unknown in ("e9", "secret\n" * 100, "\0"):
        with pytest.raises(AssayError) as caught:
            await log.get(unknown)
        assert caught.value.reason is Reason.EVENT_UNKNOWN
        shown = caught.value.metadata["value"]
        assert shown.isprintable()
        assert len(shown) <= 64


async def test_damage_is_named_to_callers(store: SqliteEventStore, log: AuditLog) -> None:
    await store.database.write(
        lambda transaction: transaction.execute("UPDATE entries SET record = x'ff' WHERE idx = 3")
    )
    for call in (log.get("e000003"), log.page(EventQuery(), 100, "")):
        with pytest.raises(AssayError) as caught:
            await call
        assert caught.value.reason is Reason.LOG_DAMAGED
        assert caught.value.metadata["place"] == "entry 3"
    assert (await log.get("e000002")).index == 2


async def test_store_that_is_down_is_unavailable_to_callers(tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite3"
    path.write_bytes(b"no database at all" * 1000)
    store = SqliteEventStore(path, vault())
    with pytest.raises(AssayError) as caught:
        await AuditLog(store).get("e000001")
    assert caught.value.reason is Reason.PART_UNAVAILABLE
    await store.close()
