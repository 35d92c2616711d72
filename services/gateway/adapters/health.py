"""Asks another service by grpc.health.v1 whether it serves."""

from __future__ import annotations

from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.kernel.errors import AssayError, Reason

_SECONDS = 1.0


class GrpcHealth:
    """One service at "host:port". Made inside the running event loop."""

    def __init__(self, part: str, address: str) -> None:
        """`part` names it in errors."""
        self._part = part
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 1000)])
        self._stub = cast(Any, health_pb2_grpc.HealthStub(self._channel))

    async def ping(self) -> None:
        """Returns when it serves. Raises AssayError PART_UNAVAILABLE when it does not."""
        try:
            response = await self._stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.aio.AioRpcError:
            response = None
        if response is None or response.status != health_pb2.HealthCheckResponse.SERVING:
            raise AssayError(Reason.PART_UNAVAILABLE, part=self._part)

    async def close(self) -> None:
        """Lets go of the connection; idempotent."""
        await self._channel.close()
