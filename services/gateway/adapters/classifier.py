"""The classifier over gRPC: one stub for each address, the one with the least work in flight is asked first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

import grpc
from assay.classifier.v1 import classifier_pb2, classifier_pb2_grpc
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.gateway import convert
from services.gateway.answers import Classification, ModelPage
from services.gateway.requests import Query
from services.kernel.errors import AssayError, Reason
from services.kernel.status import DETAILS_KEY, from_status

_Answer = TypeVar("_Answer")
_log = logging.getLogger(__name__)
_PING_SECONDS = 1.0
_MESSAGE_BYTES = 64 * 1024 * 1024  # 64 texts of 64 KiB are 4 MiB; the gateway's own limits bound it, not this

_OPTIONS = [
    # A classifier that was restarted is found again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    # Two gateways in one process, as tests have them, keep connections of their own.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


class _Replica:
    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        # The generated stub is typed for both kinds of channel; on this one its calls are awaitable.
        self.stub = cast(Any, classifier_pb2_grpc.ClassifierServiceStub(self.channel))
        self.health = cast(Any, health_pb2_grpc.HealthStub(self.channel))
        self.in_flight = 0


class GrpcClassifier:
    """Classifier behind one or several addresses ("host:port"). Made inside the running event loop."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._replicas = [_Replica(address) for address in addresses]
        self._loop = asyncio.get_running_loop()

    async def classify(self, queries: Sequence[Query], deadline: float) -> list[Classification | AssayError]:
        request = convert.from_queries(queries)
        response: classifier_pb2.ClassifyBatchResponse = await self._ask(
            lambda replica, timeout: replica.stub.ClassifyBatch(request, timeout=timeout), deadline
        )
        return convert.to_classifications(response)

    async def list_models(self, page_size: int, page_token: str, industry: str, deadline: float) -> ModelPage:
        request = classifier_pb2.ListModelsRequest(page_size=page_size, page_token=page_token, industry=industry)
        response: classifier_pb2.ListModelsResponse = await self._ask(
            lambda replica, timeout: replica.stub.ListModels(request, timeout=timeout), deadline
        )
        return convert.to_model_page(response)

    async def ping(self) -> None:
        request = health_pb2.HealthCheckRequest()
        for replica in self._replicas:
            try:
                response = await replica.health.Check(request, timeout=_PING_SECONDS)
            except grpc.aio.AioRpcError:
                continue
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                return
        raise AssayError(Reason.PART_UNAVAILABLE, part="classifier")

    async def close(self) -> None:
        for replica in self._replicas:
            await replica.channel.close()

    async def _ask(self, ask: Callable[[_Replica, float], Awaitable[_Answer]], deadline: float) -> _Answer:
        """Asks the least busy replica, and the next when one can't be reached: what is asked here is idempotent."""
        for replica in sorted(self._replicas, key=lambda replica: replica.in_flight):
            remaining = deadline - self._loop.time()
            if remaining <= 0:
                raise AssayError(Reason.DEADLINE_EXCEEDED)
            replica.in_flight += 1
            try:
                return await ask(replica, remaining)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise _to_error(error) from None
            finally:
                replica.in_flight -= 1
        raise AssayError(Reason.PART_UNAVAILABLE, part="classifier")


def _to_error(error: grpc.aio.AioRpcError) -> AssayError:
    """Reads what the classifier said. What it did not say in our words never leaves this process."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            known = from_status(status_pb2.Status.FromString(value))
            if known is not None:
                return known
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return AssayError(Reason.DEADLINE_EXCEEDED)
    if error.code() is grpc.StatusCode.CANCELLED:
        return AssayError(Reason.PART_UNAVAILABLE, part="classifier")
    _log.error("the classifier answered with an unexpected status", extra={"code": error.code().name})
    return AssayError(Reason.INTERNAL)
