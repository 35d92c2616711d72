"""A few trials of the durability benchmark on a real mesh, and that its oracle sees what is really missing."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from pathlib import Path

import pytest

from benchmarks import durability
from benchmarks.durability_load import Load
from benchmarks.durability_log import AuditLog
from benchmarks.durability_oracle import judge
from cli.mesh import Mesh
from cli.parts import MODELS, TRITON_ENVIRONMENT

pytestmark = [
    pytest.mark.skipif(
        not TRITON_ENVIRONMENT.is_dir() or not any(MODELS.glob("*/*")),
        reason="needs .venv-triton (make setup) and the models that ship",
    ),
    pytest.mark.timeout(600),
]


@pytest.mark.parametrize("trial", [0, 4])
def test_a_trial_finds_nothing_wrong(trial: int) -> None:
    """Both are on Valkey and SQLite; between them every victim dies once."""
    result = durability.run(quick=True, seed=6, trial=trial)
    assert result.figures["trials"] == 1
    assert result.figures["answered"] > 0
    assert result.figures["checkpoints_verified"] > 0
    assert result.holds, result.goals


async def test_the_oracle_sees_a_record_that_is_gone(tmp_path: Path) -> None:
    async with Mesh(tmp_path / "mesh") as mesh:
        await mesh.ready()
        since, enough = time.time_ns(), asyncio.Event()
        async with Load(mesh.address) as load:
            loading = asyncio.create_task(load.run(0, enough, random.Random(1)))
            while sum(bool(call.answers) for call in load.calls) < 40:
                await asyncio.sleep(0.05)
            enough.set()
            await loading
        log = AuditLog(mesh.parts["audit"].view.address, tmp_path / "mesh" / "audit" / "checkpoints.log")
        while not log.size or log.signed < log.size or judge(load.calls, list(log.records.values()), log.leaves).lost:
            await asyncio.sleep(0.1)
            await log.read(since)
            await log.verify()
        assert judge(load.calls, list(log.records.values()), log.leaves).clean
        assert not log.faults
        # Now somebody changes the database, under the service's hands: the last record, by one byte.
        with sqlite3.connect(tmp_path / "mesh" / "audit" / "audit.sqlite3") as database:
            (record,) = database.execute("SELECT record FROM entries ORDER BY idx DESC LIMIT 1").fetchone()
            changed = bytes([*record[:-1], record[-1] ^ 1])
            database.execute("UPDATE entries SET record = ? WHERE idx = (SELECT MAX(idx) FROM entries)", [changed])
        database.close()
        again = AuditLog(mesh.parts["audit"].view.address, tmp_path / "mesh" / "audit" / "checkpoints.log")
        await again.read(since)
        await again.verify()
        assert any("leaf hash" in fault for fault in again.faults)
        assert any("another root" in fault for fault in again.faults)
        for reader in (log, again):
            await reader.close()
