"""A fake service behind a real gRPC server, for commands that are called in the same process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc


@contextmanager
def serving(register: Callable[[grpc.aio.Server], None]) -> Iterator[str]:
    """Serves what `register` adds, on an event loop of its own thread; yields the address."""
    started: list[str] = []
    told, ready = asyncio.Event(), threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = grpc.aio.server()
        register(server)
        started.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        await server.start()
        ready.set()
        await told.wait()
        await server.stop(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(told.set)
        thread.join()
        loop.close()
