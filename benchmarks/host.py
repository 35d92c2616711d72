"""assay bench host: what hosting inside Envoy gains over the stock server, with a servicer that does nothing.

The same AIService servicer runs inside Envoy and on grpc.aio, both with all that a service gets (errors, metrics,
health, reflection; on Envoy also the REST and gRPC-Web filters). Servers on one core, load on another, rounds in turn.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from assay.ai.v1 import ai_pb2, ai_pb2_grpc

from benchmarks.harness import Goal, Result, cores, cpu_seconds, median, percentile
from benchmarks.load import Outcome, Plan, drive
from services.kernel import logs
from services.kernel.application import Application, Build
from services.kernel.hosting import aio
from services.kernel.hosting.admin import EnvoyAdmin
from services.kernel.hosting.asgi import asgi_app
from services.kernel.hosting.edge import Edge
from services.kernel.hosting.envoy import exec_envoy

SERVICE = "assay.ai.v1.AIService"
RATIO_GOAL = 3.0

_ROOT = Path(__file__).resolve().parents[1]
_DESCRIPTORS = _ROOT / "protos" / "gen" / "assay.binpb"
_FOLDER_VARIABLE = "BENCH_FOLDER"
_CONNECTIONS, _IN_FLIGHT = 4, 32
_START_SECONDS = 30
_WARM_UP = 2_000


class NullServicer(ai_pb2_grpc.AIServiceServicer):
    """Parses, answers, and does nothing in between."""

    async def ClassifyText(self, request: ai_pb2.TextRequest, context: Any) -> ai_pb2.ClassificationResponse:
        return ai_pb2.ClassificationResponse(
            label="null", confidence=0.9, model="null", model_version="v1.0.0", request_id=request.request_id
        )


@asynccontextmanager
async def build() -> AsyncIterator[Application]:
    servicer: Any = NullServicer()  # type: ignore[abstract]  # the other methods are never called
    register = partial(ai_pb2_grpc.add_AIServiceServicer_to_server, servicer)
    yield Application("null", [register], [SERVICE])


def _edge(folder: Path) -> Edge:
    edge = Edge("127.0.0.1:0", folder, _DESCRIPTORS, [SERVICE])
    return edge.inside("benchmarks.host:application")


def __getattr__(name: str) -> Any:
    # Envoy imports this module and asks for the application; nobody else should pay for it.
    if name != "application":
        raise AttributeError(name)
    logs.configure("null", "warning")
    built: Build = build
    return asgi_app(built, None, _edge(Path(os.environ[_FOLDER_VARIABLE])).admin_address_file)


def _serve(host: str, folder: Path, core: int) -> None:
    os.sched_setaffinity(0, {core})
    if host == "envoy":
        exec_envoy(_edge(folder), {**os.environ, _FOLDER_VARIABLE: str(folder)})
    logs.configure("null", "info")
    aio.run(build, f"127.0.0.1:{_free_port(folder)}")


def _free_port(folder: Path) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    (folder / "port").write_text(str(port))
    return port


@contextmanager
def _server(host: str, core: int) -> Iterator[tuple[int, str]]:
    """Runs a host; yields its process id and address."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "benchmarks.host", host, name, str(core)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=_ROOT, stderr=log)
        try:
            yield process.pid, f"127.0.0.1:{_port(host, folder, process)}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(host: str, folder: Path, process: subprocess.Popen[bytes]) -> int:
    admin = EnvoyAdmin(_edge(folder).admin_address_file)
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if host == "envoy":
            port = admin.public_port()
        else:
            port = int((folder / "port").read_text()) if '"serving"' in (folder / "log").read_text() else None
        if port:
            return port
        time.sleep(0.05)
    raise RuntimeError(f"the {host} host did not start: {(folder / 'log').read_text()[-2000:]}")


def _messages() -> tuple[bytes, ...]:
    """Requests of different lengths, in both languages; the same in every run."""
    english, chinese = "where is my card, it was to be here by now ", "我的卡还没有到，请问什么时候能收到 "
    return tuple(
        ai_pb2.TextRequest(
            text=((english, chinese)[number % 2] * 4)[: 10 + number % 97],
            model_version=("", "v1", "v1.0")[number % 3],
            request_id=f"request-{number:04}",
        ).SerializeToString()
        for number in range(512)
    )


def _round(host: str, pid: int, address: str, count: int, seconds: float, core: int) -> tuple[Outcome, float]:
    plan = Plan(
        address, f"/{SERVICE}/ClassifyText", _messages(), _CONNECTIONS, _IN_FLIGHT, count, seconds, cores=(core,)
    )
    before = cpu_seconds(pid)
    outcome = drive(plan)
    used = cpu_seconds(pid) - before
    if outcome.failures or not outcome.answers:
        raise RuntimeError(f"the {host} host failed calls: {outcome.statuses}")
    return outcome, used / outcome.answers * 1000


def run(quick: bool) -> Result:
    """Measures both hosts in turn, three rounds of about a second when quick, else seven of about four."""
    rounds, seconds = (3, 1.0) if quick else (7, 4.0)
    (server_core,), (load_core,) = cores()
    rates: dict[str, list[float]] = {"envoy": [], "aio": []}
    costs: dict[str, list[float]] = {"envoy": [], "aio": []}
    latencies: dict[str, list[float]] = {"envoy": [], "aio": []}
    load: dict[str, list[float]] = {"envoy": [], "aio": []}
    with _server("envoy", server_core) as envoy, _server("aio", server_core) as stock:
        servers = {"envoy": envoy, "aio": stock}
        for host, (pid, address) in servers.items():
            _round(host, pid, address, _WARM_UP, 10.0, load_core)
        for _ in range(rounds):
            for host, (pid, address) in servers.items():
                outcome, cost = _round(host, pid, address, 1_000_000, seconds, load_core)
                rates[host].append(outcome.per_second)
                costs[host].append(cost)
                latencies[host] += outcome.latencies
                load[host].append(outcome.cpu_seconds / outcome.seconds)
    ratio = median([inside / outside for inside, outside in zip(rates["envoy"], rates["aio"], strict=True)])
    figures: dict[str, Any] = {"ratio": ratio, "rounds": rounds, "in_flight": _CONNECTIONS * _IN_FLIGHT}
    table = [["host", "requests/s", "CPU s per 1,000", "p50 ms", "p99 ms", "load's CPU"]]
    for host in servers:
        figures[host] = {
            "requests_per_second": median(rates[host]),
            "cpu_seconds_per_1000": median(costs[host]),
            "p50_ms": percentile(latencies[host], 0.5) * 1000,
            "p99_ms": percentile(latencies[host], 0.99) * 1000,
            "load_cpu_share": median(load[host]),
        }
        shown = figures[host]
        table.append(
            [
                {"envoy": "inside Envoy", "aio": "grpc.aio"}[host],
                f"{shown['requests_per_second']:,.0f}",
                f"{shown['cpu_seconds_per_1000']:.3f}",
                f"{shown['p50_ms']:.2f}",
                f"{shown['p99_ms']:.2f}",
                f"{shown['load_cpu_share']:.0%}",
            ]
        )
    return Result("host", figures, [Goal("requests/s inside Envoy over grpc.aio", ratio, ">=", RATIO_GOAL)], table)


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
