"""What happens at SIGTERM: calls in flight end well, new ones are turned away, the process exits with 0."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.kernel.conftest import EDGES, HOSTS, DidNotServe, Served, started

PATIENCE = 30


@pytest.fixture(params=HOSTS)
def served(request: pytest.FixtureRequest, stubs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with started(request.param, stubs, tmp_path_factory.mktemp(request.param), "127.0.0.1:1") as running:
        yield running


@pytest.fixture
def stub_of(pb: Any) -> Any:
    from probe.v1 import probe_pb2_grpc

    return probe_pb2_grpc.ProbeServiceStub


def test_a_call_in_flight_completes(served: Served, stub_of: Any, pb: Any) -> None:
    with grpc.insecure_channel(served.address) as channel:
        stub = stub_of(channel)
        stub.Echo(pb.EchoRequest())
        unary = stub.Echo.future(pb.EchoRequest(text="late", sleep=2500))
        stream = stub.Split(pb.EchoRequest(count=5, sleep=500))
        assert next(stream).text == "0"
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        served.process.send_signal(signal.SIGTERM)
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert unary.result(timeout=PATIENCE).text == "late"
        assert [answer.text for answer in stream] == ["1", "2", "3", "4"]
    assert served.process.wait(PATIENCE) == 0
    with grpc.insecure_channel(served.address) as channel, pytest.raises(grpc.RpcError) as raised:
        stub_of(channel).Echo(pb.EchoRequest(), timeout=PATIENCE)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_calls_around_the_signal_end_or_are_turned_away(served: Served, stub_of: Any, pb: Any) -> None:
    outcomes = set()
    with grpc.insecure_channel(served.address) as channel:
        stub = stub_of(channel)
        calls = []
        for number in range(150):
            calls.append(stub.Echo.future(pb.EchoRequest(text=str(number), sleep=20)))
            if number == 50:
                served.process.send_signal(signal.SIGTERM)
            time.sleep(0.005)
        for call in calls:
            error = call.exception(timeout=PATIENCE)
            outcomes.add(None if error is None else error.code())
        assert calls[0].exception() is None
        assert calls[49].exception() is None
    # The stock server itself cancels what arrives in the moment in which it stops.
    stock = {grpc.StatusCode.CANCELLED} if served.host == "aio" else set()
    assert outcomes <= {None, grpc.StatusCode.UNAVAILABLE} | stock
    assert served.process.wait(PATIENCE) == 0


def test_interrupt_drains_too(served: Served) -> None:
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("host", EDGES)
def test_nothing_is_left_of_a_killed_process(host: str, stubs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with started(host, stubs, tmp_path_factory.mktemp("killed"), "127.0.0.1:1") as served:
        children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
        assert bool(children) == (host == "front")
        served.process.kill()
        served.process.wait()
        end = time.monotonic() + PATIENCE
        while any(_lives(child) for child in children):
            assert time.monotonic() < end, "a child outlived its parent"
            time.sleep(0.05)


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_front_without_its_envoy_ends(stubs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with started("front", stubs, tmp_path_factory.mktemp("front"), "127.0.0.1:1") as served:
        pid = served.process.pid
        child = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        subprocess.run(["kill", "-9", child], check=True)
        assert served.process.wait(PATIENCE) == 1


@pytest.mark.parametrize("host", HOSTS)
def test_a_task_that_ends_takes_the_process_along(
    host: str, stubs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_FAULT", "task")
    with started(host, stubs, tmp_path / "run", "127.0.0.1:1") as served:
        assert served.process.wait(PATIENCE) == 1
        assert '"ValueError"' in served.log()
        assert "canary" not in served.log()


@pytest.mark.parametrize("host", HOSTS)
def test_a_build_that_fails_serves_nothing(
    host: str, stubs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_FAULT", "build")
    with pytest.raises(DidNotServe) as raised, started(host, stubs, tmp_path / "run", "127.0.0.1:1"):
        raise AssertionError("it serves")
    status, log = raised.value.args
    assert status not in (None, 0)
    assert "ConnectionError" in log
