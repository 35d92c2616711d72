"""The requests of one streaming call, read ahead of the handler by a bounded amount.

One receive is always under way while there is room, whether the handler reads or not, because that is also how an
ASGI server says that the caller went away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from services.kernel.hosting.context import Context
from services.kernel.hosting.departures import Departures
from services.kernel.hosting.framing import Deframer

Receive = Callable[[], "asyncio.Future[dict[str, Any]]"]

# Beyond this, and with a whole message waiting, reading stops until the handler takes one; Envoy then holds the caller.
_AHEAD_BYTES = 256 * 1024


class Inbox:
    """An async iterator of messages' bytes."""

    __slots__ = ("_context", "_deframer", "_departures", "_ended", "_paused", "_receive", "_waiter")

    def __init__(self, receive: Receive, context: Context, limit: int, gzip: bool, departures: Departures) -> None:
        self._receive = receive
        self._context = context
        self._deframer = Deframer(limit, gzip)
        self._departures = departures
        self._ended = False
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._arm()

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> bytes:
        message = await self.next()
        if message is None:
            raise StopAsyncIteration
        return message

    async def next(self) -> bytes | None:
        """Returns the next message; None after the last.

        Raises:
            AssayError: MESSAGE_TOO_LARGE, MESSAGE_MALFORMED.
        """
        while True:
            message = self._deframer.next()
            if message is not None:
                if self._paused and len(self._deframer) < _AHEAD_BYTES:
                    self._arm()
                return message
            if self._ended:
                self._deframer.end()
                return None
            if self._paused:
                self._arm()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _arm(self) -> None:
        self._paused = False
        self._receive().add_done_callback(self._received)

    def _received(self, receiving: asyncio.Future[dict[str, Any]]) -> None:
        if self._context.finished or receiving.cancelled():
            return
        if receiving.exception() is not None or receiving.result()["type"] == "http.disconnect":
            self._context.leave()
            return
        event = receiving.result()
        self._deframer.feed(event.get("body", b""))
        if not event.get("more_body", False):
            self._ended = True
            self._departures.add(self._context, self._receive)
        elif len(self._deframer) < _AHEAD_BYTES:
            self._arm()
        else:
            self._paused = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
