"""assay bench path: what the whole path costs on top of the work itself.

The mesh runs as `assay up` runs it, in real processes: a gRPC client outside, gateway, classifier, Triton, an event in
the outbox of each answer, relay, audit, review. Beside it, in turn, a bare loop on the same cores with the same texts:
a process for each core, each with tokeniser, session and heads on one thread, every text by itself or in groups of four
sorted by length, whichever is faster. The ratio of the two rates is the result.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assay.ai.v1 import ai_pb2

from benchmarks.harness import Goal, Result, cpu_seconds, median, percentile
from benchmarks.load import Outcome, Plan, drive
from benchmarks.texts import texts
from cli.mesh import Mesh
from cli.parts import MODELS

RATIO_GOAL = 0.65
CONNECTIONS, IN_FLIGHT_EACH = 4, 8

_ROOT = Path(__file__).resolve().parents[1]
_PATH = "/assay.ai.v1.AIService/ClassifyText"
_BARE_ROWS: Mapping[str, int] = {"bare loop, text by text": 1, "bare loop, sorted groups of 4": 4}
_MESH = "mesh"
_WARM_UP_ANSWERS = 500
_MOST_ANSWERS = 1_000_000
_IDLE_CPU_SHARE = 0.05
_SETTLE_SECONDS = 20.0


class BareLoops:
    """The bare loop, one process a core, each waiting until it is told to run."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        """Returns when all have loaded their models."""
        self._processes = processes
        for process in processes:
            self._read(process)

    def run(self, rows: int, seconds: float) -> tuple[float, float]:
        """Runs all at once; returns texts a second of all and CPU seconds per 1,000 texts."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"seconds": seconds, "rows": rows}) + "\n")
            process.stdin.flush()
        answers = [self._read(process) for process in self._processes]
        rate = sum(answer["texts"] / answer["seconds"] for answer in answers)
        cost = sum(answer["cpu_seconds"] for answer in answers) / sum(answer["texts"] for answer in answers)
        return rate, cost * 1000

    @staticmethod
    def _read(process: subprocess.Popen[str]) -> dict[str, float]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("a bare loop ended; its words are on standard error")
        answer: dict[str, float] = json.loads(line)
        return answer


@contextmanager
def bare_loops(models: Path, count: int) -> Iterator[BareLoops]:
    """Starts `count` processes and ends them."""
    command = [sys.executable, "-m", "benchmarks.bare", str(models)]
    processes = [
        subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        yield BareLoops(processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def messages() -> tuple[bytes, ...]:
    """The texts as serialised requests."""
    return tuple(ai_pb2.TextRequest(text=text.text, model=text.model).SerializeToString() for text in texts())


def run(quick: bool) -> Result:
    """Measures in turn, two rounds of three seconds when quick, else five of eight."""
    rounds, seconds = (2, 3.0) if quick else (5, 8.0)
    return asyncio.run(_measure(rounds, seconds))


async def _measure(rounds: int, seconds: float) -> Result:
    rates: dict[str, list[float]] = {name: [] for name in (*_BARE_ROWS, _MESH)}
    costs: dict[str, list[float]] = {name: [] for name in rates}
    shares: dict[str, list[float]] = {}
    latencies: list[float] = []
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder, bare_loops(MODELS, cores) as bare:
        async with Mesh(Path(folder) / "mesh") as mesh:
            await mesh.ready()
            await _drive(mesh, _WARM_UP_ANSWERS, 30.0)
            await asyncio.to_thread(bare.run, 1, 0.5)
            for _ in range(rounds):
                for name, rows in _BARE_ROWS.items():
                    await _settled(mesh)
                    rate, cost = await asyncio.to_thread(bare.run, rows, seconds)
                    rates[name].append(rate)
                    costs[name].append(cost)
                await _settled(mesh)
                outcome, used = await _drive(mesh, _MOST_ANSWERS, seconds)
                rates[_MESH].append(outcome.per_second)
                costs[_MESH].append(sum(used.values()))
                latencies += outcome.latencies
                for part, cost in used.items():
                    shares.setdefault(part, []).append(cost)
    return _result(rates, costs, {part: median(values) for part, values in shares.items()}, latencies)


async def _drive(mesh: Mesh, count: int, seconds: float) -> tuple[Outcome, dict[str, float]]:
    """Loads the mesh; returns what came back and the CPU seconds per 1,000 answers of each part and of the load."""
    plan = Plan(mesh.address, _PATH, messages(), CONNECTIONS, IN_FLIGHT_EACH, count, seconds)
    before = _cpu(mesh)
    outcome = await asyncio.to_thread(drive, plan)
    after = _cpu(mesh)
    if outcome.failures or not outcome.answers:
        raise RuntimeError(f"the mesh failed calls: {outcome.statuses}")
    used = {part: after[part] - before[part] for part in after}
    used["load"] = outcome.cpu_seconds
    return outcome, {part: cost / outcome.answers * 1000 for part, cost in used.items()}


def _cpu(mesh: Mesh) -> dict[str, float]:
    return {name: cpu_seconds(part.view.pid) for name, part in mesh.parts.items() if part.view.pid is not None}


async def _settled(mesh: Mesh) -> None:
    """Returns when the mesh has passed on all that the last round left, so that it takes nothing from the next."""
    end = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < end:
        before, start = sum(_cpu(mesh).values()), time.monotonic()
        await asyncio.sleep(0.5)
        if sum(_cpu(mesh).values()) - before < _IDLE_CPU_SHARE * (time.monotonic() - start):
            return


def _result(
    rates: Mapping[str, list[float]],
    costs: Mapping[str, list[float]],
    shares: Mapping[str, float],
    latencies: list[float],
) -> Result:
    better = [max(rates[name][number] for name in _BARE_ROWS) for number in range(len(rates[_MESH]))]
    ratio = median([mesh / bare for mesh, bare in zip(rates[_MESH], better, strict=True)])
    figures: dict[str, Any] = {
        "ratio": ratio,
        "rounds": len(better),
        "in_flight": CONNECTIONS * IN_FLIGHT_EACH,
        "texts_per_second": {name: median(values) for name, values in rates.items()},
        "cpu_seconds_per_1000": {name: median(values) for name, values in costs.items()},
        "mesh_cpu_seconds_per_1000_by_part": dict(shares),
        "p50_ms": percentile(latencies, 0.5) * 1000,
        "p99_ms": percentile(latencies, 0.99) * 1000,
    }
    table = [["", "texts/s", "CPU s per 1,000"]]
    table += [[name, f"{median(rates[name]):,.0f}", f"{median(costs[name]):.3f}"] for name in rates]
    table += [[f"  of it {part}", "", f"{cost:.3f}"] for part, cost in sorted(shares.items(), key=lambda s: -s[1])]
    return Result(
        "path", figures, [Goal("texts/s of the mesh over the better bare loop", ratio, ">=", RATIO_GOAL)], table
    )
