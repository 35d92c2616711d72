"""The host inside Envoy: gRPC spoken over ASGI, by ordinary grpcio servicers.

Envoy owns HTTP: frames, flow control, TLS, gRPC-Web, REST. What is left is gRPC itself: length-prefixed messages,
metadata, deadlines, cancellation and the status in the trailers (dispatch.py, context.py, inbox.py, framing.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from services.kernel.application import Build
from services.kernel.hosting.dispatch import Dispatcher, Route
from services.kernel.hosting.drain import DRAIN_SECONDS, Drain
from services.kernel.hosting.lifecycle import Running, running, settle
from services.kernel.logs import places

Asgi = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

_log = logging.getLogger("assay.hosting")


def asgi_app(
    build: Build,
    metrics_listen: str | None = None,
    admin_address_file: Path | None = None,
    drain_seconds: float = DRAIN_SECONDS,
) -> Asgi:
    """Returns an ASGI application that serves what `build` makes, entered and left with the lifespan protocol.

    `admin_address_file` is where Envoy writes the address of its admin interface (Edge.admin_address_file); through it
    the application drains Envoy when the process is told to end. GET /healthz answers 200 or 503 with the state of each
    dependency.
    """
    return _App(build, metrics_listen, admin_address_file, drain_seconds)


class _App:
    def __init__(
        self, build: Build, metrics_listen: str | None, admin_address_file: Path | None, drain_seconds: float
    ) -> None:
        self._build = build
        self._metrics_listen = metrics_listen
        self._admin_address_file = admin_address_file
        self._drain_seconds = drain_seconds
        self._dispatch: Dispatcher | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            assert self._dispatch is not None
            await self._dispatch(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        failed = False
        try:
            async with running(self._build, self._metrics_listen) as run:
                self._dispatch = Dispatcher(run.registry, {"/healthz": _healthz(run)})
                drain = Drain(run, self._admin_address_file, self._drain_seconds)
                settle()
                drain.start()
                await send({"type": "lifespan.startup.complete"})
                _log.info("serving", extra={"host": "envoy", "metrics_port": run.metrics_port})
                await receive()
                run.health.drain()
                failed = run.ended.done()
        except Exception as failure:
            extra = {"error_type": type(failure).__qualname__, "error_places": places(failure.__traceback__)}
            if self._dispatch is None:
                _log.critical("the application could not be built", extra=extra)
                await send({"type": "lifespan.startup.failed", "message": type(failure).__qualname__})
                return
            _log.error("the application did not close cleanly", extra=extra)
        if failed:
            # Envoy itself ends well here, and would say so; the supervisor must see the failure.
            os._exit(1)
        await send({"type": "lifespan.shutdown.complete"})


def _healthz(run: Running) -> Route:
    def route() -> tuple[int, Any]:
        states = {name: "SERVING" if fine else "NOT_SERVING" for name, fine in run.health.states().items()}
        whole = states.pop("")
        return (200 if run.health.serving else 503), {"status": whole, "dependencies": states}

    return route
