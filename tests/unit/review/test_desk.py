from __future__ import annotations

import pytest

from services.kernel.errors import AssayError, Reason
from services.review.desk import ReviewDesk
from services.review.tasks import State, TaskQuery, TaskRequest
from tests.fixtures.stores import MemoryTaskStore


def request(number: int) -> TaskRequest:
    return TaskRequest(f"t{number}", "a" if number % 2 else "b", "general", b"%d" % number)


async def filled(count: int) -> ReviewDesk:
    store = MemoryTaskStore()
    await store.put([request(number) for number in range(count)])
    return ReviewDesk(store)


async def test_pages_of_a_filter_cover_it_once_newest_first() -> None:
    desk = await filled(10)
    query = TaskQuery(state=State.OPEN, model="a")
    first, token = await desk.page(query, 3, "")
    second, last = await desk.page(query, 3, token)
    assert [task.request for task in [*first, *second]] == [request(number) for number in (9, 7, 5, 3, 1)]
    assert last == ""
    with pytest.raises(AssayError) as caught:
        await desk.page(TaskQuery(model="a"), 3, token)
    assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


async def test_get() -> None:
    desk = await filled(2)
    assert (await desk.get("t1")).request == request(1)
    with pytest.raises(AssayError) as caught:
        await desk.get("")
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.FIELD_INVALID, "task_id")
    with pytest.raises(AssayError) as caught:
        await desk.get("x" * 1000)
    assert caught.value.reason is Reason.TASK_UNKNOWN
    assert caught.value.metadata["value"] == "x" * 63 + "…"
