"""Asks the parts themselves whether they are ready; that a process runs says little."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# Returns when the part is ready and raises NotReady when it is not. Bounded in time.
Probe = Callable[[], Awaitable[None]]

PROBE_SECONDS = 3.0
"""How long a probe waits for its answer."""

# A channel of a probe is new each time: one that has failed would wait before it tries again.
_CHANNEL = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]


class NotReady(Exception):
    """The part does not answer, or says that it is not ready; the text tells which."""


async def connects(address: str) -> None:
    """Raises NotReady unless something listens at the address: the cheapest question, so the first."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        raise NotReady(f"nothing listens at {address}") from None
    writer.close()


async def call(address: str, method: Callable[[grpc.aio.Channel], Awaitable[Any]]) -> Any:
    """Returns what `method` makes of a new channel to the address; a failed call becomes NotReady."""
    await connects(address)
    async with grpc.aio.insecure_channel(address, options=_CHANNEL) as channel:
        try:
            return await method(channel)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise NotReady(f"no answer within {PROBE_SECONDS:g} s") from None
            raise NotReady(f"{error.code().name}: {error.details()}") from None


async def health(address: str, service: str = "") -> str:
    """Returns what grpc.health.v1 says of the service: "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN" or "UNKNOWN".

    Raises:
        NotReady: it does not answer.
    """

    async def check(channel: grpc.aio.Channel) -> Any:
        request = health_pb2.HealthCheckRequest(service=service)
        return await health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_SECONDS)

    response = await call(address, check)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    return name


def serving(address: str) -> Probe:
    """A probe of a part that speaks grpc.health.v1."""

    async def probe() -> None:
        answer = await health(address)
        if answer != "SERVING":
            raise NotReady(f"its health is {answer}")

    return probe


def valkey(address: str) -> Probe:
    """A probe that sends PING; a Valkey that still loads its file answers with an error."""
    host, _, port = address.rpartition(":")

    async def probe() -> None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    writer.write(b"PING\r\n")
                    answer = (await reader.readline()).decode(errors="replace").strip()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            raise NotReady(f"nothing answers at {address}") from None
        if answer != "+PONG":
            raise NotReady(answer.removeprefix("-") or "it closed the connection")

    return probe


def kafka(address: str) -> Probe:
    """A probe that asks which requests the broker knows; one that still starts does not answer."""

    async def probe() -> None:
        from services.kernel.eventlog.kafka import ping
        from services.kernel.eventlog.port import EventLogUnavailable

        await connects(address)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await ping([address])
        except (EventLogUnavailable, TimeoutError):
            raise NotReady(f"no broker answers at {address}") from None

    return probe


def kafka_with_topics(address: str) -> Probe:
    """A probe of a broker that is to have every topic; it creates those that are missing, once."""
    answers = kafka(address)
    created = False

    async def probe() -> None:
        nonlocal created
        await answers()
        if created:
            return
        from services.kernel.eventlog import kafka_topics
        from services.kernel.eventlog.port import EventLogUnavailable
        from services.kernel.eventlog.topics import TOPICS

        try:
            await asyncio.to_thread(kafka_topics.create, [address], TOPICS)
        except EventLogUnavailable as error:
            raise NotReady(f"its topics can't be created yet: {error}") from None
        created = True

    return probe


def triton(address: str, model: str = "") -> Probe:
    """A probe of a Triton: the server ready and, where named, that model loaded."""

    async def probe() -> None:
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        async def ask(channel: grpc.aio.Channel) -> bool:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            if not (await stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=PROBE_SECONDS)).ready:
                raise NotReady("the server loads its models")
            if model:
                request = service_pb2.ModelReadyRequest(name=model)
                if not (await stub.ModelReady(request, timeout=PROBE_SECONDS)).ready:
                    raise NotReady(f"the model {model} is not loaded")
            return True

        await call(address, ask)

    return probe
