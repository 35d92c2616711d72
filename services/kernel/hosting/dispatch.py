"""Runs calls that arrive over ASGI: gRPC against the methods of a registry, plain HTTP against a few routes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any

import grpc

from services.kernel.errors import CATALOGUE, AssayError, Reason
from services.kernel.faults import Fault
from services.kernel.hosting.calls import Method
from services.kernel.hosting.context import Context, Event, Send
from services.kernel.hosting.departures import Departures
from services.kernel.hosting.framing import PREFIX_BYTES, Deframer
from services.kernel.hosting.headers import timeout_seconds
from services.kernel.hosting.inbox import Inbox, Receive
from services.kernel.hosting.registry import Registry
from services.kernel.status import language, to_json, to_status

# A plain HTTP answer: status and JSON body.
Route = Callable[[], tuple[int, Any]]

_GRPC = b"application/grpc"
_GRPC_TYPES = frozenset((_GRPC, b"application/grpc+proto"))

_log = logging.getLogger("assay.hosting")


class UnsupportedEncoding(Exception):
    """The caller compresses in a way that is not ours."""


@types.coroutine
def _resumed(handler: Coroutine[Any, Any, Any], waiting: Any) -> Generator[Any, Any, Any]:
    """Goes on with a coroutine whose first step, already taken, yielded `waiting`."""
    while True:
        try:
            try:
                sent = yield waiting
            except BaseException as thrown:
                waiting = handler.throw(thrown)
            else:
                waiting = handler.send(sent)
        except StopIteration as ended:
            return ended.value


class Dispatcher:
    """Runs gRPC calls against the methods of a registry, and plain HTTP against a few routes."""

    def __init__(self, registry: Registry, routes: Mapping[str, Route]) -> None:
        self._find = registry.find
        self._methods = registry.methods
        self._calls = registry.calls
        self._limit = self._calls.max_message_bytes
        self._routes = routes
        self._departures = Departures()

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        timeout = encoding = None
        content_type = b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"grpc-timeout":
                timeout = value
            elif name == b"grpc-encoding":
                encoding = value
        if content_type not in _GRPC_TYPES and content_type.partition(b";")[0].strip() not in _GRPC_TYPES:
            await self._plain(scope, send, content_type)
            return
        path = scope["path"]
        method = self._methods.get(path) or self._find(path) or self._calls.unknown(path)
        context = Context(scope, send)
        try:
            if timeout is not None:
                context.limit_time(timeout_seconds(timeout))
            if encoding is not None and encoding != b"identity":
                if encoding != b"gzip":
                    raise UnsupportedEncoding
                context.gzip = context.accepts_gzip()
            if method.streaming:
                await self._streaming(method, context, receive, encoding == b"gzip")
            else:
                await self._unary(method, context, receive, encoding == b"gzip")
        except grpc.aio.AbortError:
            await _quietly(context.end())
        except asyncio.CancelledError:
            await self._cancelled(method, context)
        except UnsupportedEncoding:
            context.set_code(grpc.StatusCode.UNIMPLEMENTED)
            context.set_details("the message encoding is not supported; identity and gzip are")
            await _quietly(context.end())
        except AssayError as error:
            await self._refuse(method, context, error)
        except Exception as failure:
            # The wrapper around the handler lets none of these out: the connection broke while sending.
            _log.debug("a call ended early", extra={"error_type": type(failure).__qualname__})
        finally:
            context.over()

    async def _unary(self, method: Method, context: Context, receive: Receive, gzip: bool) -> None:
        event = await receive()
        body = event.get("body", b"")
        if event.get("more_body") or len(body) < PREFIX_BYTES or body[0] or event["type"] != "http.request":
            message = await self._slow_message(event, receive, gzip)
            if message is None:
                context.gone = True
                return
        elif int.from_bytes(body[1:PREFIX_BYTES], "big") != len(body) - PREFIX_BYTES:
            message = await self._slow_message(event, receive, gzip)
        else:
            message = body[PREFIX_BYTES:]
        context.begun = True
        handler: Any = method.call(message, context)
        try:
            waiting = handler.send(None)
        except StopIteration as ended:
            # Done without waiting for anything, so nobody had the time to go away.
            await context.answer(ended.value)
            return
        context.attach()
        self._departures.add(context, receive)
        try:
            answer = await _resumed(handler, waiting)
        finally:
            self._departures.discard(context)
        if context.expired:
            # The handler would not be cancelled; its caller has the deadline's status all the same.
            raise asyncio.CancelledError
        await context.answer(answer)

    async def _slow_message(self, event: Event, receive: Receive, gzip: bool) -> bytes | None:
        """Reads the one message of a unary request; None when the caller went away."""
        deframer = Deframer(self._limit, gzip)
        message = None
        while event["type"] == "http.request":
            deframer.feed(event.get("body", b""))
            if message is None:
                message = deframer.next()
            if not event.get("more_body"):
                deframer.end()
                if message is None:
                    raise AssayError(Reason.MESSAGE_MALFORMED, field="request", fault=Fault.NO_MESSAGE)
                return message
            event = await receive()
        return None

    async def _streaming(self, method: Method, context: Context, receive: Receive, gzip: bool) -> None:
        context.attach()
        try:
            if method.request_streaming:
                inbox = Inbox(receive, context, self._limit, gzip, self._departures)
                context.read_message = inbox.next
                context.begun = True
                answer = await method.call(inbox, context)
            else:
                message = await self._slow_message(await receive(), receive, gzip)
                if message is None:
                    context.gone = True
                    return
                self._departures.add(context, receive)
                context.begun = True
                answer = await method.call(message, context)
        finally:
            self._departures.discard(context)
        if context.expired:
            raise asyncio.CancelledError
        if answer is None:
            await context.end()
        else:
            await context.answer(answer)

    async def _cancelled(self, method: Method, context: Context) -> None:
        task = asyncio.current_task()
        if not (context.expired or context.gone) or task is None:
            raise asyncio.CancelledError
        task.uncancel()
        if context.expired and not context.gone:
            error = AssayError(Reason.DEADLINE_EXCEEDED)
            if context.begun:
                await self._finish(method.path, context, error)
            else:
                # It ended while its message was awaited: no handler has seen it.
                await self._refuse(method, context, error)

    async def _refuse(self, method: Method, context: Context, error: AssayError) -> None:
        """Ends a call whose message or headers were refused before its handler began."""
        error = await self._calls.refuse(method.path, error, context)
        method.count(CATALOGUE[error.reason].code)
        await self._finish(method.path, context, error)

    async def _finish(self, path: str, context: Context, error: AssayError) -> None:
        context.set_status(self._calls.render(error, context))
        await _quietly(context.end())

    async def _plain(self, scope: Event, send: Send, content_type: bytes) -> None:
        path = scope["path"]
        route = self._routes.get(path)
        if route is not None and scope["method"] in ("GET", "HEAD"):
            status, body = route()
        elif content_type.startswith(_GRPC) or (scope["method"] == "POST" and self._find(path) is not None):
            # By the gRPC protocol: 415 for a content type that is not gRPC's.
            status, body = 415, {"code": 3, "message": "the content type must be application/grpc", "details": []}
        else:
            context = Context(scope, send)
            unknown = self._calls.unknown(path)
            error = AssayError(Reason.METHOD_UNKNOWN, method=unknown.path)
            error = await self._calls.refuse(unknown.path, error, context)
            accepted = dict(scope["headers"]).get(b"accept-language", b"").decode("latin-1")
            status, body = 404, to_json(to_status(error, language(accepted)))
        data = json.dumps(body, ensure_ascii=False).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else data})


async def _quietly(sending: Awaitable[None]) -> None:
    """Awaits a last word to a caller who may be gone."""
    with contextlib.suppress(Exception):
        await sending
