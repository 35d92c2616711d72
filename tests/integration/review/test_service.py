"""The review service's own wiring, over a real Valkey and a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import grpc
import pytest
from assay.review.v1 import review_pb2, review_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.kernel.errors import Reason
from services.kernel.eventlog.port import REVIEW_TOPIC, Event
from services.kernel.eventlog.redis_streams import RedisPublisher
from services.kernel.hosting import aio
from services.kernel.identifiers import uuid7
from services.review.settings import Settings
from services.review.wiring import build
from tests.fixtures.services import error_of, running_service
from tests.fixtures.valkey import ValkeyServer


def review_requested(number: int) -> review_pb2.ReviewRequested:
    return review_pb2.ReviewRequested(
        task_id=uuid7(),
        audit_id=uuid7(),
        create_time=Timestamp(seconds=1_000 + number),
        masked_text="我的卡丢了",
        model="banking" if number % 2 else "triage",
        model_version="v1.0.0",
        industry="finance" if number % 2 else "medical",
        label="card_lost",
        confidence=0.5,
        threshold=0.7,
    )


def wrapped(message: review_pb2.ReviewRequested) -> Event:
    return Event(message.task_id, message.SerializeToString())


async def arrived(stub: review_pb2_grpc.ReviewServiceAsyncStub, task_id: str) -> review_pb2.ReviewTask:
    """Asks until the task is there."""
    async with asyncio.timeout(60):
        while True:
            try:
                return (await stub.GetTask(review_pb2.GetTaskRequest(task_id=task_id))).task
            except grpc.aio.AioRpcError as failure:
                if failure.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            await asyncio.sleep(0.02)


@pytest.fixture
async def review(valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[review_pb2_grpc.ReviewServiceAsyncStub]:
    settings = Settings(event_log=valkey.url, data=tmp_path / "review")
    async with aio.serve(build(settings)) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield review_pb2_grpc.ReviewServiceStub(channel)


async def test_requests_open_tasks_once(
    publisher: RedisPublisher, review: review_pb2_grpc.ReviewServiceAsyncStub
) -> None:
    sent = [review_requested(number) for number in range(10)]
    for message in sent:  # one by one, so that each task has a time of its own
        await publisher.publish(REVIEW_TOPIC, [wrapped(message)] * 2)
        await arrived(review, message.task_id)
    await publisher.publish(REVIEW_TOPIC, [Event(uuid7(), b"\xff poison"), *map(wrapped, sent)])
    task = await arrived(review, sent[0].task_id)
    assert (task.task_id, task.state, task.request) == (sent[0].task_id, review_pb2.TASK_STATE_OPEN, sent[0])
    assert task.HasField("create_time")

    request = review_pb2.ListTasksRequest(page_size=3, model="banking", state=review_pb2.TASK_STATE_OPEN)
    first = await review.ListTasks(request)
    request.page_token = first.next_page_token
    second = await review.ListTasks(request)
    assert [task.request for task in [*first.tasks, *second.tasks]] == sent[9::-2]
    assert second.next_page_token == ""
    medical = await review.ListTasks(review_pb2.ListTasksRequest(industry="medical"))
    assert [task.request for task in medical.tasks] == sent[8::-2]
    everything = await review.ListTasks(review_pb2.ListTasksRequest())
    assert len(everything.tasks) == 10


async def test_bad_requests_are_refused_with_their_reason(review: review_pb2_grpc.ReviewServiceAsyncStub) -> None:
    calls: list[tuple[Awaitable[object], Reason]] = [
        (review.GetTask(review_pb2.GetTaskRequest()), Reason.FIELD_INVALID),
        (review.GetTask(review_pb2.GetTaskRequest(task_id="nope")), Reason.TASK_UNKNOWN),
        (review.ListTasks(review_pb2.ListTasksRequest(page_size=-1)), Reason.FIELD_INVALID),
        (review.ListTasks(review_pb2.ListTasksRequest(page_token="nope")), Reason.PAGE_TOKEN_INVALID),
        (review.ListTasks(review_pb2.ListTasksRequest(state=99)), Reason.FIELD_INVALID),  # type: ignore[arg-type]
    ]
    for call, reason in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert error_of(caught.value).reason is reason


async def test_kill_9_loses_no_task_and_opens_none_twice(
    valkey: ValkeyServer, publisher: RedisPublisher, tmp_path: Path
) -> None:
    sent = [review_requested(number) for number in range(600)]
    with running_service("review", tmp_path, valkey.url) as service:
        for start in range(0, 600, 20):
            await publisher.publish(REVIEW_TOPIC, [wrapped(message) for message in sent[start : start + 20]])
            if start == 300:
                await asyncio.to_thread(service.kill)
        await asyncio.to_thread(service.start)
        async with grpc.aio.insecure_channel(service.address) as channel:
            review = review_pb2_grpc.ReviewServiceStub(channel)
            await arrived(review, sent[-1].task_id)
            tasks = (await review.ListTasks(review_pb2.ListTasksRequest(page_size=1000))).tasks
        assert sorted(task.task_id for task in tasks) == sorted(message.task_id for message in sent)
        assert await asyncio.to_thread(service.terminate) == 0
