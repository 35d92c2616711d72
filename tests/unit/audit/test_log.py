from __future__ import annotations

import pytest

from services.audit.events import EventQuery, EventRecord
from services.audit.log import AuditLog
from services.kernel.errors import AssayError, Reason
from tests.fixtures.stores import MemoryEventStore


def record(number: int) -> EventRecord:
    return EventRecord(f"e{number}", number // 2, "a" if number % 2 else "b", f"r{number}", "m", b"%d" % number)


async def filled(count: int) -> AuditLog:
    store = MemoryEventStore()
    await store.put([record(number) for number in range(count)])
    return AuditLog(store)


async def test_pages_cover_everything_once_newest_first() -> None:
    log = await filled(10)
    seen: list[EventRecord] = []
    token = ""
    for _ in range(4):
        page, token = await log.page(EventQuery(), 3, token)
        seen += page
    assert not token
    assert seen == [record(number) for number in reversed(range(10))]


async def test_last_page_that_is_full_has_no_token() -> None:
    page, token = await (await filled(6)).page(EventQuery(), 6, "")
    assert (len(page), token) == (6, "")


async def test_token_of_other_filters_is_refused() -> None:
    log = await filled(10)
    _, token = await log.page(EventQuery(caller="a"), 2, "")
    assert token
    for query in (EventQuery(), EventQuery(caller="b"), EventQuery(request_id="a")):
        with pytest.raises(AssayError) as caught:
            await log.page(query, 2, token)
        assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


async def test_range_that_ends_before_it_starts_is_refused() -> None:
    log = await filled(2)
    with pytest.raises(AssayError) as caught:
        await log.page(EventQuery(start=2, end=1), 2, "")
    assert caught.value.reason is Reason.FIELD_INVALID
    assert caught.value.metadata["field"] == "end_time"
    assert await log.page(EventQuery(start=1, end=1), 2, "") == ([], "")


async def test_get() -> None:
    log = await filled(2)
    assert await log.get("e1") == record(1)
    with pytest.raises(AssayError) as caught:
        await log.get("")
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.FIELD_INVALID, "event_id")
    with pytest.raises(AssayError) as caught:
        await log.get("secret\n" * 100)
    assert caught.value.reason is Reason.EVENT_UNKNOWN
    assert caught.value.metadata["value"] == ("secret?" * 9 + "…")


async def test_store_that_is_down_is_unavailable_to_callers() -> None:
    store = MemoryEventStore()
    store.down = True
    with pytest.raises(AssayError) as caught:
        await AuditLog(store).get("e1")
    assert caught.value.reason is Reason.PART_UNAVAILABLE
