"""The host for machines where Python can't run inside Envoy: the same Envoy as a child, in front of grpc.aio.

Everything works as on the other host, slower: each call crosses a socket and the stock server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys

import uvloop

from services.kernel.application import Build
from services.kernel.hosting import aio
from services.kernel.hosting.admin import EnvoyAdmin
from services.kernel.hosting.drain import DRAIN_SECONDS, SIGNALS
from services.kernel.hosting.edge import Edge
from services.kernel.hosting.envoy import spawn_envoy
from services.kernel.hosting.lifecycle import settle

_QUIT_SECONDS = 3.0

_log = logging.getLogger("assay.hosting")


async def _serve(build: Build, edge: Edge, metrics_listen: str | None, drain_seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, told.set)
    async with aio.host(build, "127.0.0.1:0", metrics_listen, drain_seconds) as (run, port):
        envoy = spawn_envoy(edge.before(f"127.0.0.1:{port}"), os.environ)
        try:
            _log.info("serving", extra={"host": "aio", "metrics_port": run.metrics_port})
            settle()
            gone = asyncio.create_task(asyncio.to_thread(envoy.wait))
            waiting = asyncio.create_task(told.wait())
            await asyncio.wait((waiting, gone, run.ended), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            failed = run.ended.done() or gone.done()
            _log.info("draining")
            run.health.drain()
            await asyncio.to_thread(_stop, envoy, EnvoyAdmin(edge.admin_address_file), drain_seconds)
        finally:
            envoy.kill()
            envoy.wait()
    return not failed


def _stop(envoy: subprocess.Popen[bytes], admin: EnvoyAdmin, drain_seconds: float) -> None:
    if envoy.poll() is not None:
        return
    admin.drain(drain_seconds)
    admin.quit()
    try:
        envoy.wait(_QUIT_SECONDS)
    except subprocess.TimeoutExpired:
        _log.warning("envoy had to be killed")


def run(build: Build, edge: Edge, metrics_listen: str | None = None, drain_seconds: float = DRAIN_SECONDS) -> None:
    """Serves `build` on grpc.aio behind an Envoy at `edge.listen` until SIGTERM or SIGINT, drains, and returns.

    Raises:
        SystemExit: with 1, when Envoy or a background task of the application ended by itself.
        OSError: Envoy can't be started.
    """
    if not uvloop.run(_serve(build, edge, metrics_listen, drain_seconds)):
        sys.exit(1)
