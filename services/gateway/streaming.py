"""A stream of questions, answered in the order in which the answers are ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class StreamLimits:
    items_in_flight: int = 64
    """Items of one stream that are worked on or wait to be read by the caller; then the stream is not read on."""


async def in_completion_order(
    items: AsyncIterator[_Item], answer: Callable[[_Item], Awaitable[_Result]], limits: StreamLimits
) -> AsyncGenerator[_Result, None]:
    """Yields `answer(item)` of each item as it becomes ready.

    Reads on while fewer than the limit are in flight, so a caller that does not read its answers stops its own stream
    and nobody else's. When left early, what is in flight is cancelled; close it with `contextlib.aclosing`.

    Raises:
        whatever the iterator or `answer` raises; answers that are ready by then are yielded first.
    """
    room = asyncio.Semaphore(limits.items_in_flight)
    # None says that there will be no more.
    ready: asyncio.Queue[asyncio.Task[_Result] | None] = asyncio.Queue()
    running: set[asyncio.Task[_Result]] = set()

    def done(task: asyncio.Task[_Result]) -> None:
        running.discard(task)
        ready.put_nowait(task)

    async def read() -> None:
        try:
            async for item in items:
                await room.acquire()
                task = asyncio.ensure_future(answer(item))
                running.add(task)
                task.add_done_callback(done)
            while running:
                await asyncio.wait(running)
        finally:
            ready.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (task := await ready.get()) is not None:
            yield task.result()
            room.release()
        await reader
    finally:
        reader.cancel()
        for task in running:
            task.cancel()
        await asyncio.gather(reader, *running, return_exceptions=True)
