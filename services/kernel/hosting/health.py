"""grpc.health.v1 that tells the truth: each dependency by its name, and the whole only when all that it needs works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.kernel.application import Check

NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

_INTERVAL_SECONDS = 1.0
_TIMEOUT_SECONDS = 2.0

_log = logging.getLogger("assay.health")


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the library has no types
    """Everything is NOT_SERVING until the first round of checks has passed, and again, for good, from `drain` on."""

    def __init__(self, services: tuple[str, ...], needed: Mapping[str, Check], soft: Mapping[str, Check]) -> None:
        self._services = services
        self._needed = needed
        self._checks = {**needed, **soft}
        self._states: dict[str, int] = dict.fromkeys(("", *services, *self._checks), _NOT_SERVING)
        self._draining = False
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  # the proto names it
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service or dependency")
        return health_pb2.HealthCheckResponse(status=state)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        last = None
        while True:
            state = self._states.get(request.service, _UNKNOWN)
            if state != last:
                last = state
                yield health_pb2.HealthCheckResponse(status=state)
            elif self._draining:
                # There will be no other news, and a stream in flight would hold the drain up.
                return
            else:
                await self._changed.wait()

    def register(self, server: Any) -> None:
        """Registers this servicer."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    @property
    def serving(self) -> bool:
        """Whether the whole serves."""
        return self.states()[""]

    def states(self) -> dict[str, bool]:
        """Returns for the whole ("") and each dependency whether it serves."""
        return {name: bool(self._states[name] == _SERVING) for name in ("", *self._checks)}

    def drain(self) -> None:
        """Says NOT_SERVING for everything from now on."""
        self._draining = True
        self._publish(dict.fromkeys(self._states, _NOT_SERVING))

    async def watch_dependencies(self) -> None:
        """Checks every dependency once a second, for ever."""
        while True:
            await self.check_once()
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def check_once(self) -> None:
        """Checks every dependency, all at the same time, each for at most 2 s."""
        names = list(self._checks)
        works = dict(zip(names, await asyncio.gather(*(self._works(name) for name in names)), strict=True))
        whole = _SERVING if all(works[name] for name in self._needed) else _NOT_SERVING
        states: dict[str, int] = dict.fromkeys(("", *self._services), whole)
        states.update({name: _SERVING if fine else _NOT_SERVING for name, fine in works.items()})
        if not self._draining:
            self._publish(states)

    async def _works(self, name: str) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._checks[name]()
        except Exception as failure:
            if self._states[name] == _SERVING:
                _log.warning(
                    "a dependency failed", extra={"dependency": name, "error_type": type(failure).__qualname__}
                )
            return False
        return True

    def _publish(self, states: dict[str, int]) -> None:
        if states == self._states:
            return
        self._states = states
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
