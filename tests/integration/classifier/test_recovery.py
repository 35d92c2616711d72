"""Triton comes late, dies, loses an instance, hangs: the classifier says so and goes on by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from assay.classifier.v1 import classifier_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.fixtures.triton import TritonServer, running_triton
from tests.integration.classifier.conftest import eventually, serving, stub

BATCH = pb.ClassifyBatchRequest(items=[pb.ClassifyItem(text="greet"), pb.ClassifyItem(text="card", model="banking")])


async def labels(channel: grpc.aio.Channel) -> list[str]:
    answer = await stub(channel).ClassifyBatch(BATCH, timeout=20)
    return [result.classification.label for result in answer.results]


async def answered(channel: grpc.aio.Channel) -> bool:
    """Whether a batch is answered now; anything but UNAVAILABLE is not to happen meanwhile."""
    try:
        return await labels(channel) == ["greet", "card"]
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False


async def status_of(channel: grpc.aio.Channel, name: str) -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    return int(answer.status)


def children(pid: int) -> list[int]:
    """The processes that it started, from whichever of its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # threads come and go
            found += map(int, (task / "children").read_text().split())
    return found


async def test_a_classifier_waits_for_a_triton_that_comes_later(own_triton: TritonServer, tiny_models: Path) -> None:
    own_triton.kill()
    async with serving(tiny_models, own_triton.address) as channel:
        assert not await answered(channel)
        for name in ("", "triton", "encoder"):
            assert await status_of(channel, name) == health_pb2.HealthCheckResponse.NOT_SERVING
        await asyncio.to_thread(own_triton.start)
        await eventually(lambda: answered(channel))

        async def serves() -> bool:
            return await status_of(channel, "") == int(health_pb2.HealthCheckResponse.SERVING)

        await eventually(serves)


async def test_a_killed_triton_is_said_and_used_again_when_back(own_triton: TritonServer, tiny_models: Path) -> None:
    async with serving(tiny_models, own_triton.address) as channel:
        await eventually(lambda: answered(channel))
        instances = children(own_triton.pid)
        assert instances
        own_triton.kill()
        assert not await answered(channel)

        async def orphaned() -> bool:
            return not any(_alive(pid) for pid in instances)

        await eventually(orphaned)
        await asyncio.to_thread(own_triton.start)
        await eventually(lambda: answered(channel))


async def test_calls_in_flight_when_triton_dies_are_unavailable_not_wrong(
    own_triton: TritonServer, tiny_models: Path
) -> None:
    async with serving(tiny_models, own_triton.address) as channel:
        await eventually(lambda: answered(channel))
        own_triton.suspend()
        calls = [asyncio.create_task(answered(channel)) for _ in range(10)]
        await asyncio.sleep(0.1)
        own_triton.kill()
        assert await asyncio.gather(*calls) == [False] * 10


async def test_a_call_ends_at_its_deadline_when_triton_hangs(own_triton: TritonServer, tiny_models: Path) -> None:
    async with serving(tiny_models, own_triton.address) as channel:
        await eventually(lambda: answered(channel))
        own_triton.suspend()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(channel).ClassifyBatch(BATCH, timeout=0.3)
        own_triton.resume()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: answered(channel))


async def test_a_killed_instance_is_replaced(own_triton: TritonServer, tiny_models: Path) -> None:
    async with serving(tiny_models, own_triton.address) as channel:
        await eventually(lambda: answered(channel))
        for pid in children(own_triton.pid):
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: answered(channel))


async def test_one_of_two_tritons_is_enough(
    own_triton: TritonServer, shared_triton: TritonServer, tiny_models: Path
) -> None:
    async with serving(tiny_models, own_triton.address, shared_triton.address) as channel:
        await eventually(lambda: answered(channel))
        for number in range(60):
            if number == 20:
                own_triton.kill()
            assert await labels(channel) == ["greet", "card"]
        assert await status_of(channel, "") == health_pb2.HealthCheckResponse.SERVING


async def test_triton_ends_on_sigterm(tmp_path: Path, tiny_models: Path) -> None:
    with running_triton(tmp_path, tiny_models) as server:
        instances = children(server.pid)
        assert await asyncio.to_thread(server.terminate) == 0
        assert not any(_alive(pid) for pid in instances)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
