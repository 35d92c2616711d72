"""Starts the probe service on each host, once for each test module."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from services.kernel.hosting.admin import EnvoyAdmin
from services.kernel.hosting.edge import Edge
from services.kernel.hosting.envoy import choose_host
from tests.integration.kernel import probe

ROOT = Path(__file__).resolve().parents[3]
HOSTS = ("envoy", "aio", "front")
EDGES = ("envoy", "front")
_PATIENCE_SECONDS = 60


class DidNotServe(Exception):
    """A probe ended before it served; holds its exit status and its log."""


@dataclass
class Served:
    """A probe process that serves."""

    host: str
    port: int
    metrics_port: int
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def edge_log(self) -> list[dict[str, Any]]:
        """Returns the lines of Envoy's access log; Envoy writes it about once a second."""
        path = self.folder / "edge" / "edge.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder with the probe's stubs, on the path."""
    folder = tmp_path_factory.mktemp("probe")
    probe.compile_stubs(folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@contextmanager
def started(host: str, stubs: Path, folder: Path, elsewhere: str) -> Iterator[Served]:
    """Runs a probe; ends it, by its process id, if the test has not."""
    if host == "envoy" and choose_host("auto").host != "envoy":
        pytest.skip(f"no application inside Envoy here: {choose_host('auto').why}")
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "index.html").write_text("<!doctype html><title>docs</title>")
    (folder / "docs" / "page.js").write_text("let page = 1;")
    (folder / "probe.binpb").write_bytes((stubs / "probe.binpb").read_bytes())
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{stubs}"}
    command = [sys.executable, "-m", "tests.integration.kernel.probe", host, str(folder), elsewhere]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, cwd=ROOT, stderr=log, stdout=log)
    served = Served(host, 0, 0, process, folder)
    try:
        _wait_for_ports(served)
        yield served
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def _wait_for_ports(served: Served) -> None:
    admin = EnvoyAdmin(Edge("", served.folder / "edge", Path(), ()).admin_address_file)
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        if served.process.poll() is not None:
            raise DidNotServe(served.process.returncode, served.log())
        lines = [json.loads(line) for line in served.log().splitlines() if '"serving"' in line]
        if lines:
            served.metrics_port = lines[0]["metrics_port"]
            if served.host == "aio":
                served.port = int(lines[0]["address"].rpartition(":")[2])
            else:
                served.port = admin.public_port() or 0
            if served.port:
                return
        time.sleep(0.05)
    raise AssertionError(f"it does not serve: {served.log()}")


@pytest.fixture(scope="session")
def elsewhere(stubs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that is proxied."""
    with started("aio", stubs, tmp_path_factory.mktemp("elsewhere"), "self") as served:
        yield served.address


@pytest.fixture(scope="module", params=HOSTS)
def served(
    request: pytest.FixtureRequest, stubs: Path, elsewhere: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A probe on each host in turn."""
    with started(request.param, stubs, tmp_path_factory.mktemp(request.param), elsewhere) as running:
        yield running


@pytest.fixture(scope="module", params=EDGES)
def edge(
    request: pytest.FixtureRequest, stubs: Path, elsewhere: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A probe behind Envoy, on each host that has one in turn."""
    with started(request.param, stubs, tmp_path_factory.mktemp(request.param), elsewhere) as running:
        yield running


@pytest.fixture(scope="module")
def http(edge: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=edge.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def channel(served: Served) -> Iterator[grpc.Channel]:
    options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    with grpc.insecure_channel(served.address, options=options) as opened:
        yield opened


@pytest.fixture(scope="module")
def pb(stubs: Path) -> Any:
    from probe.v1 import probe_pb2

    return probe_pb2


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel, pb: Any) -> Any:
    from probe.v1 import probe_pb2_grpc

    return probe_pb2_grpc.ProbeServiceStub(channel)
