from __future__ import annotations

import pytest
from assay.review.v1 import review_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.kernel.errors import AssayError, Reason
from services.kernel.eventlog.port import Event
from services.kernel.stores import Refused
from services.review import convert
from services.review.tasks import State, Task, TaskQuery, TaskRequest

REQUESTED = review_pb2.ReviewRequested(
    task_id="t1",
    audit_id="e1",
    create_time=Timestamp(seconds=3),
    masked_text="我的卡丢了",
    model="triage",
    model_version="v1.0.0",
    industry="medical",
    label="dermatology",
    confidence=0.5,
    threshold=0.7,
    caller="anonymous",
)


def test_request_comes_back_in_its_task() -> None:
    payload = REQUESTED.SerializeToString()
    request = convert.to_task_request(Event("t1", payload))
    assert request == TaskRequest("t1", "triage", "medical", payload)
    assert convert.from_task(Task(request, State.OPEN, 5_000_000_007)) == review_pb2.ReviewTask(
        task_id="t1",
        state=review_pb2.TASK_STATE_OPEN,
        request=REQUESTED,
        create_time=Timestamp(seconds=5, nanos=7),
    )


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Event("t1", b"\xff"), "not a ReviewRequested"),
        (Event("", b""), "task_id is not the event's key"),
        (Event("t2", REQUESTED.SerializeToString()), "task_id is not the event's key"),
    ],
)
def test_what_is_no_request_is_refused(event: Event, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        convert.to_task_request(event)
    assert caught.value.reason == reason


def test_query() -> None:
    assert convert.to_query(review_pb2.ListTasksRequest()) == TaskQuery()
    request = review_pb2.ListTasksRequest(state=review_pb2.TASK_STATE_OPEN, model="m", industry="i")
    assert convert.to_query(request) == TaskQuery(State.OPEN, "m", "i")


def test_state_that_does_not_exist_is_refused() -> None:
    with pytest.raises(AssayError) as caught:
        convert.to_query(review_pb2.ListTasksRequest(state=99))  # type: ignore[arg-type]
    assert caught.value.reason is Reason.FIELD_INVALID
    assert caught.value.metadata == {"field": "state", "value": "99", "limit": "one of TASK_STATE_OPEN"}


def test_every_state_has_its_number_and_back() -> None:
    numbers = set(review_pb2.TaskState.values()) - {review_pb2.TASK_STATE_UNSPECIFIED}
    for number in numbers:
        state = convert.to_query(review_pb2.ListTasksRequest(state=number)).state
        assert state is not None
        assert convert.from_task(Task(TaskRequest("t", "", "", b""), state, 0)).state == number
    assert len(numbers) == len(State)
