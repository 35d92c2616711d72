"""What the supervisor promises, with real processes: parts come back, nothing answered is lost, nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

from cli.client import CallFailed, PublicPort
from cli.parts import NEEDS
from tests.fixtures.mesh import RunningMesh, assay, started

LOAD_PER_SECOND = 5
LOAD_MOST_CALLS = 600


class Load:
    """Slow and steady: five calls a second, one at a time; remembers what was answered."""

    def __init__(self, address: str) -> None:
        self.answered: list[str] = []
        self.failed = 0
        self._address = address

    async def run(self) -> None:
        async with PublicPort(self._address) as port:
            for number in range(LOAD_MOST_CALLS):
                try:
                    answer = await port.classify(text=f"where is my card, call {number}", model="banking")
                except CallFailed:
                    self.failed += 1
                else:
                    self.answered.append(answer["audit_id"])
                await asyncio.sleep(1 / LOAD_PER_SECOND)


async def succeeds(port: PublicPort) -> None:
    """Returns when a call is answered; the test's own limit ends a wait in vain."""
    while True:
        try:
            await port.classify(text="is it back?", model="intent")
        except CallFailed:
            await asyncio.sleep(0.1)
        else:
            return


async def recorded(port: PublicPort, audit_id: str) -> None:
    """Returns when the audit store has the event."""
    while True:
        try:
            await port.event(audit_id)
        except CallFailed:
            await asyncio.sleep(0.1)
        else:
            return


async def test_each_part_comes_back_and_no_answer_is_lost(mesh: RunningMesh) -> None:
    load = Load(mesh.address)
    running = asyncio.create_task(load.run())
    async with PublicPort(mesh.address) as port:
        for name in NEEDS:
            before = mesh.read()["parts"][name]
            answered = len(load.answered)
            os.kill(before["pid"], signal.SIGKILL)
            while mesh.read()["parts"][name]["restarts"] == before["restarts"]:
                await asyncio.sleep(0.02)
            await asyncio.to_thread(mesh.wait_ready)
            after = mesh.read()["parts"][name]
            assert after["address"] == before["address"], name
            assert after["pid"] != before["pid"], name
            await succeeds(port)
            while len(load.answered) <= answered:
                assert not running.done()
                await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert load.answered
        for audit_id in load.answered:
            await recorded(port, audit_id)


def gone(pids: list[int]) -> bool:
    def alive(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    return not any(alive(pid) for pid in pids)


@pytest.mark.timeout(240)
def test_two_meshes_then_kill_9_then_again_then_sigterm(mesh: RunningMesh, tmp_path: Path) -> None:
    """One story, because each start costs seconds: a second mesh, on the other host, is killed and started again."""
    with started(tmp_path, "--host", "aio") as second:
        assert second.address != mesh.address
        answers = [
            json.loads(assay("classify", "hello", "--data", str(each.data), "--json").stdout) for each in (mesh, second)
        ]
        assert answers[0]["label"] == answers[1]["label"]
        assert second.read()["host"] == "aio"
        pids = second.pids()
        assert len(pids) > len(NEEDS)  # what the parts started themselves is among them
        second.process.kill()
        second.process.wait()
        while not gone(pids):  # the test's own limit ends a wait in vain
            time.sleep(0.05)
    assert assay("classify", "hello", "--data", str(mesh.data)).returncode == 0
    key = (tmp_path / "secrets" / "pseudonym.key").read_bytes()
    with started(tmp_path) as again:
        assert (tmp_path / "secrets" / "pseudonym.key").read_bytes() == key
        shown = assay("audit", "show", answers[1]["audit_id"], "--data", str(tmp_path), "--json")
        while shown.returncode:  # the outbox hands over what the log did not have yet
            shown = assay("audit", "show", answers[1]["audit_id"], "--data", str(tmp_path), "--json")
        assert json.loads(shown.stdout)["answer"]["label"] == answers[1]["label"]
        pids = again.pids()
        again.process.terminate()
        assert again.process.wait() == 0
        assert gone(pids)
    assert assay("status", "--data", str(tmp_path)).returncode == 1
