"""From a Build to a running application, and back: what both hosts share around their servers."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.kernel import telemetry
from services.kernel.application import Application, Build
from services.kernel.hosting import health, reflection
from services.kernel.hosting.calls import Calls
from services.kernel.hosting.registry import Registry
from services.kernel.logs import places

_log = logging.getLogger("assay.hosting")


class TaskEnded(Exception):
    """A background task returned or raised; the process must end with a failure. Names the task."""


@dataclass(frozen=True, slots=True)
class Running:
    """A built application whose checks and tasks run."""

    application: Application
    registry: Registry
    health: health.Health
    metrics: telemetry.CallMetrics
    metrics_port: int | None
    ended: asyncio.Future[None]
    """Fails with TaskEnded when a background task is over."""


def settle() -> None:
    """Tells the garbage collector that the process has been built; for processes that only serve.

    What lives as long as the process is never garbage, and a collection for every 700 objects of short calls would cost
    a few percent of them all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@asynccontextmanager
async def running(build: Build, metrics_listen: str | None) -> AsyncIterator[Running]:
    """Builds the application in this loop, registers its servicers with health and reflection, and starts its tasks.

    On leaving, the tasks are cancelled and awaited before the build is closed, so that what they use still works.

    Raises:
        whatever the build raises; OSError when `metrics_listen` is taken.
    """
    metrics = telemetry.CallMetrics()
    async with build() as application:
        tracer = telemetry.tracer(application.name)
        registry = Registry(Calls(metrics, tracer, application.refused))
        for register in application.registrations:
            register(registry)
        service_names = tuple(application.service_names)
        checked = health.Health(service_names, application.checks, application.soft_checks)
        checked.register(registry)
        reflection.add_reflection([*service_names, *application.proxied_names, health.NAME], registry)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Nobody may wait for it, in a test for example.
        ended.add_done_callback(lambda future: future.cancelled() or future.exception())
        with telemetry.exposition(metrics, metrics_listen) as metrics_port:
            await checked.check_once()
            tasks = [asyncio.create_task(checked.watch_dependencies(), name="health")]
            tasks += [
                asyncio.create_task(_guarded(name, task(), ended), name=name)
                for name, task in application.tasks.items()
            ]
            try:
                yield Running(application, registry, checked, metrics, metrics_port, ended)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                telemetry.flush(tracer)


async def _guarded(name: str, loop: Awaitable[None], ended: asyncio.Future[None]) -> None:
    failure: BaseException | None = None
    try:
        await loop
    except asyncio.CancelledError:
        raise
    except Exception as raised:
        failure = raised
    _log.error(
        "a background task ended",
        extra={
            "task": name,
            "error_type": type(failure).__qualname__ if failure else None,
            "error_places": places(failure.__traceback__) if failure else [],
        },
    )
    if not ended.done():
        ended.set_exception(TaskEnded(name))
