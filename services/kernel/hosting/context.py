"""One call on the Envoy host, as its servicer sees it: the surface of grpc.aio.ServicerContext over ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, NoReturn

import grpc
from google.rpc import status_pb2

from services.kernel.hosting.calls import code_number
from services.kernel.hosting.framing import ENCODINGS, frame, gzip_frame
from services.kernel.hosting.headers import (
    Header,
    MetadataValue,
    Metadatum,
    decode_metadata,
    encode_metadata,
    status_message,
)
from services.kernel.status import DETAILS_KEY

Event = dict[str, Any]
Send = Callable[[Event], Awaitable[None]]

_TYPE = (b"content-type", b"application/grpc")
_ACCEPT = (b"grpc-accept-encoding", ENCODINGS)
_GZIP = (b"grpc-encoding", b"gzip")
_PLAIN_START: Event = {"type": "http.response.start", "status": 200, "headers": [_TYPE, _ACCEPT], "trailers": True}
_OK_TRAILERS: Event = {
    "type": "http.response.trailers",
    "headers": [(b"grpc-status", b"0")],
    "more_trailers": False,
}
_LAST_BODY: Event = {"type": "http.response.body", "body": b"", "more_body": False}
# A handler that writes without ever waiting must let other calls run.
_WRITES_PER_TURN = 32


class Context:
    """Made for each call. Not for use from another thread."""

    # Defaults stand on the class: a short call sets three attributes and reads the rest from here.
    _metadata: tuple[Metadatum, ...] | None = None
    _code: Any = None
    _details = ""
    _trailing: Sequence[tuple[str, MetadataValue]] = ()
    _initial: Sequence[Header] = ()
    _started = False
    _disable_next = False
    _writes = 0
    _callbacks: list[Callable[[Any], None]] | None = None
    _task: asyncio.Task[Any] | None = None
    _timer: asyncio.TimerHandle | None = None
    deadline: float | None = None
    # Whether a handler was called; until then the call is refused, not ended.
    begun = False
    expired = False
    gone = False
    finished = False
    gzip = False
    read_message: Callable[[], Awaitable[Any]] | None = None

    def __init__(self, scope: Event, send: Send) -> None:
        self._headers: Sequence[Header] = scope["headers"]
        self._scope = scope
        self._send = send

    # What a servicer asks.

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        """Returns what the caller sent, without the transport's own headers."""
        if self._metadata is None:
            self._metadata = decode_metadata(self._headers)
        return self._metadata

    def peer(self) -> str:
        """Returns the caller's address as gRPC writes it, for example "ipv4:127.0.0.1:50312"."""
        client = self._scope.get("client")
        if not client:
            return "unknown"
        host, port = client[0], client[1]
        return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"

    def peer_identities(self) -> None:
        """Returns None: TLS, where there is any, ends before this."""

    def peer_identity_key(self) -> None:
        """Returns None, as `peer_identities` does."""

    def auth_context(self) -> dict[str, Sequence[bytes]]:
        """Returns nothing, for the same reason."""
        return {}

    def time_remaining(self) -> float | None:
        """Returns the seconds until the deadline, not below 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - monotonic())

    def cancelled(self) -> bool:
        """Returns whether the caller went away or the deadline passed."""
        return self.gone or self.expired

    def done(self) -> bool:
        """Returns whether the status was decided."""
        return self.finished

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Has `callback(context)` called when the call is over."""
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)

    # What a servicer says.

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, MetadataValue]]) -> None:
        """Sends the response's headers now, with `metadata` among them. Raises RuntimeError when they are sent."""
        if self._started:
            raise RuntimeError("the initial metadata is already sent")
        self._initial = encode_metadata(metadata)
        await self.start()

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, MetadataValue]]) -> None:
        """Sets what goes with the status."""
        self._trailing = tuple(metadata)

    def trailing_metadata(self) -> Sequence[tuple[str, MetadataValue]]:
        """Returns what `set_trailing_metadata` set."""
        return self._trailing

    def set_code(self, code: Any) -> None:
        """Sets the status code: a grpc.StatusCode."""
        self._code = code

    def set_details(self, details: str) -> None:
        """Sets the status message."""
        self._details = details

    def code(self) -> Any:
        """Returns the status code, None while it is unset."""
        return self._code

    def details(self) -> str:
        """Returns the status message."""
        return self._details

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, MetadataValue]] = ()
    ) -> NoReturn:
        """Ends the call with a status that is not OK, by raising grpc.aio.AbortError."""
        if code_number(code) == 0:
            raise ValueError("abort wants a status that is not OK")
        self._code, self._details = code, details
        self._trailing = tuple(trailing_metadata) or self._trailing
        raise grpc.aio.AbortError("aborted by the servicer")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """Ends the call with a status, as `abort` does."""
        await self.abort(status.code, status.details, tuple(status.trailing_metadata or ()))

    def set_compression(self, compression: grpc.Compression) -> None:
        """Has the messages sent with gzip or as they are. Raises RuntimeError when the headers are sent."""
        if self._started:
            raise RuntimeError("the initial metadata is already sent")
        self.gzip = compression is grpc.Compression.Gzip and self.accepts_gzip()

    def disable_next_message_compression(self) -> None:
        """Has the next message sent as it is."""
        self._disable_next = True

    def accepts_gzip(self) -> bool:
        """Returns whether the caller said that it can read gzip."""
        return any(name == b"grpc-accept-encoding" and b"gzip" in value for name, value in self._headers)

    async def read(self) -> Any:
        """Returns the next request's bytes, or grpc.aio.EOF."""
        if self.read_message is None:
            raise RuntimeError("a unary request is not read")
        data = await self.read_message()
        return grpc.aio.EOF if data is None else data

    async def write(self, message: bytes) -> None:
        """Sends one response; waits while the caller is slower than the handler."""
        if not self._started:
            await self.start()
        await self._send({"type": "http.response.body", "body": self._framed(message), "more_body": True})
        self._writes += 1
        if not self._writes % _WRITES_PER_TURN:
            await asyncio.sleep(0)

    # What the host does.

    def set_status(self, status: status_pb2.Status) -> None:
        """Makes this the call's status, with its details among the trailers."""
        self._code, self._details = status.code, status.message
        kept = [pair for pair in self._trailing if pair[0] != DETAILS_KEY]
        self._trailing = (*kept, (DETAILS_KEY, status.SerializeToString()))

    async def start(self) -> None:
        """Sends the response's headers."""
        self._started = True
        if not self._initial and not self.gzip:
            await self._send(_PLAIN_START)
            return
        headers = [_TYPE, _ACCEPT, *((_GZIP,) if self.gzip else ()), *self._initial]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})

    async def answer(self, message: bytes) -> None:
        """Sends the one message of a unary response, and its status, which is OK unless the handler set another."""
        self._close()
        if self._code is not None and code_number(self._code):
            await self._status()
            return
        send = self._send
        if not self._started:
            if self._initial or self.gzip:
                await self.start()
            else:
                self._started = True
                await send(_PLAIN_START)
        body = self._framed(message) if self.gzip else b"\0" + len(message).to_bytes(4, "big") + message
        await send({"type": "http.response.body", "body": body, "more_body": False})
        if not self._trailing and not self._details:
            await send(_OK_TRAILERS)
        else:
            await self._send({"type": "http.response.trailers", "headers": self._trailers(), "more_trailers": False})

    async def end(self) -> None:
        """Sends the status, without a message before it."""
        self._close()
        await self._status()

    async def _status(self) -> None:
        trailers = self._trailers()
        if self._started:
            await self._send(_LAST_BODY)
            await self._send({"type": "http.response.trailers", "headers": trailers, "more_trailers": False})
            return
        # Nothing went before: the status stands in the headers, which is what gRPC calls trailers-only.
        headers = [_TYPE, _ACCEPT, *self._initial, *trailers]
        self._started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": False})
        await self._send(_LAST_BODY)

    def _trailers(self) -> list[Header]:
        trailers: list[Header] = [(b"grpc-status", b"%d" % code_number(self._code))]
        if self._details:
            trailers.append((b"grpc-message", status_message(self._details)))
        return trailers + encode_metadata(self._trailing)

    def _framed(self, message: bytes) -> bytes:
        if self.gzip and not self._disable_next:
            return gzip_frame(message)
        self._disable_next = False
        return frame(message)

    def limit_time(self, seconds: float) -> None:
        """Cancels the running task when so many seconds have passed."""
        self.deadline = monotonic() + seconds
        self.attach()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self.expired = True
        self._cancel()

    def attach(self) -> None:
        """Makes the running task the one to cancel."""
        self._task = asyncio.current_task()

    def received(self, receiving: asyncio.Future[Event]) -> None:
        """Takes an event that was awaited: cancels the running task if it says that the caller went away."""
        if self.finished or receiving.cancelled() or receiving.exception() is not None:
            return
        if receiving.result()["type"] == "http.disconnect":
            self.leave()

    def leave(self) -> None:
        """Takes note that the caller went away, and cancels the handler."""
        self.gone = True
        self._cancel()

    def _cancel(self) -> None:
        if not self.finished and self._task is not None:
            self._task.cancel()

    def _close(self) -> None:
        self.finished = True
        if self._timer is not None:
            self._timer.cancel()

    def over(self) -> None:
        """Calls the done callbacks; the last thing that happens to a context."""
        if not self.finished:
            self._close()
        if self._callbacks is not None:
            for callback in self._callbacks:
                callback(self)
