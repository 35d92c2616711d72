"""The supervision, with stand-ins for the parts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cli import guard, mesh, readiness
from cli.backoff import Backoff
from cli.failure import CommandFailed
from cli.mesh import Mesh
from cli.part import Launch, Recipe, State, View
from cli.parts import Plan
from cli.ports import free_ports

STANDIN = Path(__file__).with_name("standin.py")
SUPERVISE = Path(__file__).with_name("supervise.py")


def recipe(name: str, needs: Sequence[str] = (), *arguments: str, program: Sequence[str] = ()) -> Recipe:
    port = free_ports(1)[0]
    command = tuple(program) or (sys.executable, str(STANDIN), str(port), *arguments)
    launch = Launch(command, {"PATH": os.environ["PATH"]})
    address = f"127.0.0.1:{port}"
    return Recipe(name, lambda: launch, address, readiness.valkey(address), Path("/"), tuple(needs))


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    made: list[Recipe] = []

    def recipes(plan: Plan) -> list[Recipe]:
        return made

    monkeypatch.setattr(mesh, "recipes", recipes)
    return made


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def until(condition: Callable[[], object]) -> None:
    """Waits for a condition that others bring about; the test's own limit ends a wait in vain."""
    while not condition():
        await asyncio.sleep(0.02)


async def test_parts_start_after_what_they_need_and_stop_before_it(tmp_path: Path, parts: list[Recipe]) -> None:
    parts += [recipe("log"), recipe("other"), recipe("edge", ["log", "other"])]
    seen: list[tuple[str, State]] = []
    async with Mesh(tmp_path, on_change=lambda view: seen.append((view.name, view.state))) as running:
        await running.ready()
        pids = [part.view.pid for part in running.parts.values()]
        assert all(pid is not None and alive(pid) for pid in pids)
    for needed in ("log", "other"):
        assert seen.index((needed, State.READY)) < seen.index(("edge", State.STARTING))
        assert seen.index(("edge", State.STOPPED)) < seen.index((needed, State.STOPPING))
    assert not any(alive(pid) for pid in pids if pid)


async def test_mesh_json_says_where_everything_is(tmp_path: Path, parts: list[Recipe]) -> None:
    parts += [recipe("log")]
    async with Mesh(tmp_path) as running:
        await running.ready()
        content = json.loads((tmp_path / "mesh.json").read_text())
        view = running.parts["log"].view
        assert content["pid"] == os.getpid()
        assert content["public"] == running.address
        assert content["parts"]["log"]["address"] == view.address
        assert content["parts"]["log"]["pid"] == view.pid
        assert content["parts"]["log"]["state"] == "ready"
        assert content["parts"]["log"]["log"] == str(tmp_path / "logs" / "log.log")
    assert json.loads((tmp_path / "mesh.json").read_text())["parts"]["log"]["state"] == "stopped"


async def test_a_killed_part_comes_back_at_its_address_without_its_leftovers(
    tmp_path: Path, parts: list[Recipe]
) -> None:
    parts += [recipe("log", [], "--child")]
    async with Mesh(tmp_path) as running:
        await running.ready()
        before = running.parts["log"].view
        assert before.pid
        session = guard.belonging(f"{running.id}/log/")
        assert len(session) == 2
        os.kill(before.pid, signal.SIGKILL)
        await until(lambda: running.parts["log"].view.restarts == 1)
        await running.ready()
        after = running.parts["log"].view
        assert (after.address, after.restarts) == (before.address, 1)
        assert after.pid != before.pid
        assert not any(alive(pid) for pid in session)


async def test_a_held_part_stays_down_until_it_is_released(tmp_path: Path, parts: list[Recipe]) -> None:
    parts += [recipe("log", [], "--child")]
    views: list[View] = []
    async with Mesh(tmp_path, on_change=views.append) as running:
        await running.ready()
        pid = running.parts["log"].view.pid
        await running.hold("log")
        assert guard.belonging(f"{running.id}/log/") == []
        await until(lambda: views[-1].state is State.HELD)
        await running.hold("log")
        assert views[-1].pid is None
        running.release("log")
        await running.ready()
        assert views[-1].restarts == 1
        assert views[-1].pid not in (None, pid)
        await running.hold("log")
    assert views[-1].state is State.STOPPED


async def test_a_part_that_is_held_before_its_turn_waits(tmp_path: Path, parts: list[Recipe]) -> None:
    parts += [recipe("log"), recipe("edge", ["log"])]
    async with Mesh(tmp_path) as running:
        await running.hold("edge")
        await until(lambda: running.parts["edge"].view.state is State.HELD)
        running.release("edge")
        await running.ready()


async def test_a_part_that_says_it_is_not_ready_shows_as_unhealthy(tmp_path: Path, parts: list[Recipe]) -> None:
    parts += [recipe("log")]
    answers: list[str] = []

    async def probe() -> None:
        if answers:
            raise readiness.NotReady(answers[0])

    parts[0] = Recipe("log", parts[0].prepare, parts[0].address, probe, Path("/"))
    views: list[View] = []
    async with Mesh(tmp_path, on_change=views.append) as running:
        await running.ready()
        answers.append("its health is NOT_SERVING")
        await until(lambda: views[-1].state is State.UNHEALTHY)
        assert views[-1].detail == "its health is NOT_SERVING"
        answers.clear()
        await running.ready()
        assert views[-1].restarts == 0


async def test_a_part_that_can_not_start_is_named_with_its_last_words(tmp_path: Path, parts: list[Recipe]) -> None:
    parts += [recipe("log", program=[sys.executable, "-c", "import sys; sys.exit('no such setting')"])]
    async with Mesh(tmp_path) as running:
        with pytest.raises(CommandFailed) as caught:
            await running.ready()
    assert "log is not ready" in caught.value.message
    assert "no such setting" in caught.value.message


async def test_a_part_that_keeps_dying_is_failing_with_its_last_words(
    tmp_path: Path, parts: list[Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.part.Backoff", lambda: Backoff(limit=1))
    parts += [recipe("log", program=[sys.executable, "-c", "import sys; sys.exit('no such setting')"])]
    async with Mesh(tmp_path) as running:
        part = running.parts["log"]
        await until(lambda: part.view.state is State.FAILING)
        assert part.view.detail == "ended with exit code 1"
        assert part.view.last_lines[-1] == "no such setting"
        assert part.view.pid is None
    assert part.view.state is State.STOPPED


async def test_a_part_that_ignores_sigterm_is_killed(tmp_path: Path, parts: list[Recipe]) -> None:
    parts += [replace(recipe("log", [], "--deaf"), grace_seconds=0.2)]
    async with Mesh(tmp_path) as running:
        await running.ready()
        pid = running.parts["log"].view.pid
    assert pid
    assert not alive(pid)


async def test_leaving_before_it_is_ready_stops_what_was_started(tmp_path: Path, parts: list[Recipe]) -> None:
    parts += [recipe("log"), recipe("edge", ["log"])]
    async with Mesh(tmp_path) as running:
        await until(lambda: running.parts["log"].view.pid)
        mark = f"{running.id}/"
    assert guard.belonging(mark) == []


async def test_a_second_mesh_in_the_same_folder_is_refused(tmp_path: Path, parts: list[Recipe]) -> None:
    parts += [recipe("log")]
    async with Mesh(tmp_path) as running:
        await running.ready()
        with pytest.raises(CommandFailed, match=r"a mesh runs in .* already at 127"):
            await Mesh(tmp_path).__aenter__()
    async with Mesh(tmp_path):
        pass


async def test_a_taken_port_is_named(tmp_path: Path, parts: list[Recipe]) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(CommandFailed, match=rf"port {port} .* is taken; .*--port"):
        await Mesh(tmp_path, port).__aenter__()
    server.close()


async def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path, parts: list[Recipe]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailed, match="can't write to the data folder"):
        await Mesh(tmp_path / "file" / "data").__aenter__()


@pytest.mark.parametrize("victim", ["supervisor", "supervisor after its guard"])
def test_a_killed_supervisor_leaves_no_process(tmp_path: Path, victim: str) -> None:
    process = subprocess.Popen(
        [sys.executable, str(SUPERVISE), str(tmp_path), str(STANDIN)], stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    content = json.loads((tmp_path / "mesh.json").read_text())
    mark = f"{content['id']}/"
    assert len(guard.belonging(mark)) == 3
    if victim == "supervisor after its guard":
        os.kill(content["guard"], signal.SIGKILL)
    process.kill()
    process.wait()
    process.stdout.close()
    if victim == "supervisor":
        while guard.belonging(mark):  # the test's limit ends a wait in vain
            pass
    else:  # what the parts had started is cleared away when the folder is used again
        while any(alive(part["pid"]) for part in content["parts"].values()):
            pass
        assert len(guard.belonging(mark)) == 1
        again = subprocess.Popen(
            [sys.executable, str(SUPERVISE), str(tmp_path), str(STANDIN)], stdout=subprocess.PIPE, cwd=Path.cwd()
        )
        assert again.stdout
        assert again.stdout.readline() == b"ready\n"
        assert guard.belonging(mark) == []
        again.terminate()
        again.wait()
        again.stdout.close()
