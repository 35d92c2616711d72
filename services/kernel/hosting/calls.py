"""What happens around every handler, on both hosts alike: parsing, errors, deadlines, metrics, traces.

A host finds a `Method` by its path and awaits `method.call(source, context)`: `source` is the message's bytes, or for
a streaming request an async iterator of them; the answer is the response's bytes, or None where the handler wrote a
stream through `context.write`. The host needs to know no message type and no error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any

import grpc
from google.rpc import status_pb2
from opentelemetry import trace

from services.kernel.application import Refusal, Refused
from services.kernel.errors import AssayError, Code, Reason
from services.kernel.faults import Fault
from services.kernel.hosting.streams import MessageStream
from services.kernel.logs import places
from services.kernel.presentable import presentable_path
from services.kernel.status import DETAILS_KEY, language, to_status
from services.kernel.telemetry import CallMetrics, server_span

# Public and internal messages alike; a host turns larger ones away without holding them.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# What an answer to an unknown path repeats of it.
_MAX_PATH = 200

CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

_log = logging.getLogger("assay.calls")


def metadata_value(context: Any, key: str) -> str | None:
    """Returns the first value of a text metadata key (lower case), None where the caller sent none."""
    for name, value in context.invocation_metadata() or ():
        if name == key:
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return None


def code_number(code: Any) -> int:
    """Returns the number of a status that a context holds as a number, a grpc.StatusCode or, when unset, None."""
    if isinstance(code, grpc.StatusCode):
        number: int = code.value[0]
        return number
    return int(code or 0)


class Calls:
    """Makes the methods of one host. `refused` hears of each call that no handler sees, before its status leaves."""

    def __init__(
        self,
        metrics: CallMetrics,
        tracer: trace.Tracer | None = None,
        refused: Refused | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self.metrics = metrics
        self.tracer = tracer
        self.refused = refused
        self.max_message_bytes = max_message_bytes

    def method(self, service: str, name: str, handler: Any) -> Method:
        """Wraps one handler: a grpc.RpcMethodHandler with async behaviour, as generated code makes it."""
        return Method(self, service, name, handler)

    def unknown(self, path: str) -> Method:
        """Returns a method that refuses, for a path that nobody serves. Counted under one name, whatever the path."""
        return UnknownMethod(self, path)

    async def refuse(self, path: str, error: AssayError, context: Any, size: int = 0) -> AssayError:
        """Reports a call that no handler will see, and returns what its caller shall be told."""
        if self.refused is None:
            return error
        try:
            await self.refused(Refusal(path, tuple(context.invocation_metadata() or ()), error, size))
        except AssayError as instead:
            return instead
        except Exception as failure:
            _report(path, failure, context)
            return AssayError(Reason.INTERNAL)
        return error

    def status(self, path: str, failure: BaseException, context: Any) -> status_pb2.Status | None:
        """Says how a call whose handler raised `failure` ends; None where its status already stands.

        A failure that is no AssayError is logged, with its type and places but not its text, and becomes INTERNAL.
        """
        error: AssayError
        if isinstance(failure, AssayError):
            error = failure
        elif isinstance(failure, (grpc.aio.AbortError, asyncio.CancelledError, GeneratorExit)):
            return None
        elif isinstance(failure, TimeoutError) and _expired(context):
            error = AssayError(Reason.DEADLINE_EXCEEDED)
        elif isinstance(failure, NotImplementedError) and code_number(context.code()) == Code.UNIMPLEMENTED:
            # What the generated base class of a servicer does for a method that nobody wrote.
            error = AssayError(Reason.METHOD_UNKNOWN, method=path)
        else:
            _report(path, failure, context)
            error = AssayError(Reason.INTERNAL)
        return self.render(error, context)

    def render(self, error: AssayError, context: Any) -> status_pb2.Status:
        """Renders an error in the caller's language."""
        return to_status(error, language(metadata_value(context, "accept-language")))


def _expired(context: Any) -> bool:
    remaining = context.time_remaining()
    return remaining is not None and remaining <= 0


def _report(path: str, failure: BaseException, context: Any) -> None:
    _log.error(
        "a handler failed",
        extra={
            "method": path,
            "error_type": type(failure).__qualname__,
            "error_places": places(failure.__traceback__),
            "request_id": metadata_value(context, "x-request-id"),
        },
    )


class Method:
    """One RPC, ready to be called."""

    __slots__ = (
        "_behaviour",
        "_calls",
        "_figures",
        "_inner",
        "_limit",
        "_parse",
        "_serialize",
        "call",
        "path",
        "request_streaming",
        "response_streaming",
        "service",
        "streaming",
    )

    call: Callable[[Any, Any], Awaitable[bytes | None]]

    def __init__(self, calls: Calls, service: str, name: str, handler: Any) -> None:
        self._calls = calls
        self._limit = calls.max_message_bytes
        self.service = service
        self.path = f"/{service}/{name}"
        self.request_streaming: bool = handler.request_streaming
        self.response_streaming: bool = handler.response_streaming
        self.streaming = self.request_streaming or self.response_streaming
        self._figures = calls.metrics.of(service, name)
        self._parse = handler.request_deserializer or bytes
        self._serialize = handler.response_serializer or bytes
        kind = f"{('unary', 'stream')[self.request_streaming]}_{('unary', 'stream')[self.response_streaming]}"
        self._behaviour = getattr(handler, kind)
        self._inner: Any = self._unary if kind == "unary_unary" else self._streaming
        self.call = self._inner if calls.tracer is None else self._traced

    async def _unary(self, data: bytes, context: Any) -> bytes:
        figures = self._figures
        figures.in_flight += 1
        start = monotonic()
        code = 0
        try:
            remaining = context.time_remaining()
            if len(data) > self._limit or (remaining is not None and remaining <= 0):
                raise await self._refusal(data, context)
            try:
                request = self._parse(data)
            except Exception:
                raise await self._refusal(data, context) from None
            answer: bytes = self._serialize(await self._behaviour(request, context))
            set_code = context.code()
            if set_code is not None:
                code = code_number(set_code)
            return answer
        except BaseException as failure:
            code, ended = await self._end(failure, context)
            raise ended from None
        finally:
            figures.in_flight -= 1
            figures.ended(code, monotonic() - start)

    async def _streaming(self, source: Any, context: Any) -> bytes | None:
        figures = self._figures
        figures.in_flight += 1
        start = monotonic()
        code = 0
        try:
            answer = await self._stream(source, context)
            code = code_number(context.code())
            return answer
        except BaseException as failure:
            code, ended = await self._end(failure, context)
            raise ended from None
        finally:
            figures.in_flight -= 1
            figures.ended(code, monotonic() - start)

    async def _stream(self, source: Any, context: Any) -> bytes | None:
        stream = MessageStream(source, context, self.parse, self._serialize)
        if _expired(context):
            raise await self._refusal(b"", context)
        if self.request_streaming:
            request: Any = stream
        else:
            try:
                request = self.parse(source)
            except AssayError:
                raise await self._refusal(source, context) from None
        running = self._behaviour(request, stream)
        if not self.response_streaming:
            answer: bytes = self._serialize(await running)
            return answer
        if not hasattr(running, "__aiter__"):
            await running
            return None
        write, serialize = context.write, self._serialize
        try:
            async for response in running:
                await write(serialize(response))
        finally:
            close = getattr(running, "aclose", None)
            if close is not None:
                await close()
        return None

    def parse(self, data: bytes) -> Any:
        """Reads one message. Raises AssayError: MESSAGE_TOO_LARGE, MESSAGE_MALFORMED."""
        if len(data) > self._limit:
            raise AssayError(Reason.MESSAGE_TOO_LARGE, bytes=len(data), limit=self._limit)
        try:
            return self._parse(data)
        except Exception:
            raise AssayError(Reason.MESSAGE_MALFORMED, field="request", fault=Fault.MESSAGE) from None

    def count(self, code: int) -> None:
        """Counts a call that the host ended before it came here."""
        self._figures.ended(code, 0.0)

    async def _refusal(self, data: bytes, context: Any) -> AssayError:
        if _expired(context):
            error = AssayError(Reason.DEADLINE_EXCEEDED)
        elif len(data) > self._limit:
            error = AssayError(Reason.MESSAGE_TOO_LARGE, bytes=len(data), limit=self._limit)
        else:
            error = AssayError(Reason.MESSAGE_MALFORMED, field="request", fault=Fault.MESSAGE)
        return await self._calls.refuse(self.path, error, context, len(data))

    async def _end(self, failure: BaseException, context: Any) -> tuple[int, BaseException]:
        """Sets a failed call's status; returns its code and what the host shall see raised."""
        status = self._calls.status(self.path, failure, context)
        if status is not None:
            trailers = [pair for pair in context.trailing_metadata() or () if pair[0] != DETAILS_KEY]
            trailers.append((DETAILS_KEY, status.SerializeToString()))
            try:
                await context.abort(CODES[status.code], status.message, tuple(trailers))
            except grpc.aio.AbortError as aborted:
                failure = aborted
            return status.code, failure
        if isinstance(failure, grpc.aio.AbortError):
            return code_number(context.code()), failure
        return (Code.DEADLINE_EXCEEDED if _expired(context) else Code.CANCELLED), failure

    async def _traced(self, source: Any, context: Any) -> bytes | None:
        tracer = self._calls.tracer
        assert tracer is not None
        service, name = self.path[1:].split("/")
        with server_span(tracer, service, name, context.invocation_metadata() or ()) as span:
            try:
                answer: bytes | None = await self._inner(source, context)
                return answer
            finally:
                span.set_attribute("rpc.grpc.status_code", code_number(context.code()))


class UnknownMethod(Method):
    """Stands for every path that is not served. Takes a stream, since nobody knows what its caller sends."""

    __slots__ = ()

    def __init__(self, calls: Calls, path: str) -> None:
        handler: Any = grpc.stream_stream_rpc_method_handler(self._refuse_all)
        super().__init__(calls, "unknown", "unknown", handler)
        self.path = presentable_path(path[:_MAX_PATH])

    async def _refuse_all(self, _requests: AsyncIterator[bytes], context: Any) -> None:
        error = AssayError(Reason.METHOD_UNKNOWN, method=self.path)
        raise await self._calls.refuse(self.path, error, context)
