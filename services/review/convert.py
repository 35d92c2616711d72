"""Between the wire and the review service's own types."""

from __future__ import annotations

from collections.abc import Sequence

from assay.review.v1 import review_pb2
from google.protobuf.message import DecodeError

from services.kernel.errors import AssayError, Reason
from services.kernel.eventlog.port import Event
from services.kernel.stores import Refused
from services.kernel.timestamps import timestamp
from services.review.tasks import State, Task, TaskQuery, TaskRequest

_TO_STATE = {review_pb2.TASK_STATE_OPEN: State.OPEN}
_FROM_STATE = {state: number for number, state in _TO_STATE.items()}


def to_task_request(event: Event) -> TaskRequest:
    """Reads an event of the topic assay.review.v1.

    Raises:
        Refused: it is no ReviewRequested, or has no id or another than its key.
    """
    try:
        message = review_pb2.ReviewRequested.FromString(event.payload)
    except DecodeError:
        raise Refused("not a ReviewRequested") from None
    if not message.task_id or message.task_id != event.key:
        raise Refused("task_id is not the event's key")
    return TaskRequest(message.task_id, message.model, message.industry, event.payload)


def to_query(request: review_pb2.ListTasksRequest) -> TaskQuery:
    """Reads the filters of a request; an empty one is none.

    Raises:
        AssayError: FIELD_INVALID for a state that does not exist.
    """
    state = _TO_STATE.get(request.state)
    if state is None and request.state != review_pb2.TASK_STATE_UNSPECIFIED:
        known = ", ".join(map(review_pb2.TaskState.Name, _TO_STATE))
        raise AssayError(Reason.FIELD_INVALID, field="state", value=int(request.state), limit=f"one of {known}")
    return TaskQuery(state=state, model=request.model or None, industry=request.industry or None)


def from_task(task: Task) -> review_pb2.ReviewTask:
    """Returns the message of a task."""
    return review_pb2.ReviewTask(
        task_id=task.request.task_id,
        state=_FROM_STATE[task.state],
        request=review_pb2.ReviewRequested.FromString(task.request.request),
        create_time=timestamp(task.create_time),
    )


def from_page(tasks: Sequence[Task], next_page_token: str) -> review_pb2.ListTasksResponse:
    """Returns the message of a page."""
    return review_pb2.ListTasksResponse(tasks=[from_task(task) for task in tasks], next_page_token=next_page_token)
