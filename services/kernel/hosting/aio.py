"""The host on the stock grpc.aio server."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import uvloop

from services.kernel.application import Build
from services.kernel.hosting.calls import MAX_MESSAGE_BYTES
from services.kernel.hosting.drain import DRAIN_SECONDS
from services.kernel.hosting.lifecycle import Running, TaskEnded, running, settle
from services.kernel.hosting.registry import Registry

_METADATA_BYTES = 16 * 1024

_OPTIONS = (
    # Between the two gRPC turns calls away at random, so there is no between.
    ("grpc.max_metadata_size", _METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
    # Our own limit answers with details (calls.py); the core's, which can't, lies well above.
    ("grpc.max_receive_message_length", 4 * MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", 4 * MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 1024),
    # A supervisor's or Envoy's keepalive is no abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
)

_log = logging.getLogger("assay.hosting")


class _Handler:
    def __init__(self, method: Any) -> None:
        self.request_streaming = method.request_streaming
        self.response_streaming = method.response_streaming
        self.request_deserializer = None
        self.response_serializer = None
        self.unary_unary = self.unary_stream = self.stream_unary = self.stream_stream = method.call


class _Dispatch(grpc.GenericRpcHandler):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._handlers: dict[str, _Handler] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        handler = self._handlers.get(path)
        if handler is None:
            method = self._registry.find(path)
            if method is None:
                return _Handler(self._registry.calls.unknown(path))
            handler = self._handlers[path] = _Handler(method)
        return handler


async def _start(registry: Registry, listen: str) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((_Dispatch(registry),))
    port = server.add_insecure_port(listen)
    await server.start()
    return server, port


@asynccontextmanager
async def host(
    build: Build, listen: str, metrics_listen: str | None = None, drain_seconds: float = DRAIN_SECONDS
) -> AsyncIterator[tuple[Running, int]]:
    """Serves until the block is left: then NOT_SERVING, no new calls, and up to `drain_seconds` for those in flight.

    Yields the running application and the port. `listen` is "host:port"; port 0 takes a free one.

    Raises:
        RuntimeError: the address can't be bound.
    """
    async with running(build, metrics_listen) as run:
        server, port = await _start(run.registry, listen)
        try:
            yield run, port
        finally:
            run.health.drain()
            await server.stop(drain_seconds)


@asynccontextmanager
async def serve(build: Build, listen: str = "127.0.0.1:0") -> AsyncIterator[int]:
    """Serves inside the running loop, for tests; yields the port."""
    async with host(build, listen, drain_seconds=1.0) as (_, port):
        yield port


async def _until_told(build: Build, listen: str, metrics_listen: str | None, drain_seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with host(build, listen, metrics_listen, drain_seconds) as (run, port):
        address = f"{listen.rpartition(':')[0]}:{port}"
        _log.info("serving", extra={"host": "aio", "address": address, "metrics_port": run.metrics_port})
        settle()
        waiting = asyncio.create_task(told.wait())
        await asyncio.wait((waiting, run.ended), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        failed = run.ended.done()
        _log.info("draining")
    with suppress(TaskEnded):
        if failed:
            run.ended.result()
    return not failed


def run(build: Build, listen: str, metrics_listen: str | None = None, drain_seconds: float = DRAIN_SECONDS) -> None:
    """Serves until SIGTERM or SIGINT, drains, and returns.

    Raises:
        SystemExit: with 1, when a background task of the application ended by itself.
    """
    if not uvloop.run(_until_told(build, listen, metrics_listen, drain_seconds)):
        sys.exit(1)
