"""Messages where the hosts have bytes: a streaming handler's context, and the iterator of its requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc


class MessageStream:
    """A streaming handler's context, and the iterator of its requests: messages where the host has bytes."""

    def __init__(
        self, source: Any, context: Any, parse: Callable[[bytes], Any], serialize: Callable[[Any], bytes]
    ) -> None:
        self._source = source
        self._context = context
        self._parse = parse
        self._serialize = serialize

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __aiter__(self) -> MessageStream:
        self._source = aiter(self._source)
        return self

    async def __anext__(self) -> Any:
        return self._parse(await anext(self._source))

    async def read(self) -> Any:
        """Returns the next request, or grpc.aio.EOF."""
        data = await self._context.read()
        return data if data is grpc.aio.EOF else self._parse(data)

    async def write(self, message: Any) -> None:
        """Sends one response."""
        await self._context.write(self._serialize(message))
