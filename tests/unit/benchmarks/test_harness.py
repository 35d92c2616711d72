"""Results of benchmarks, and how they are judged."""

from __future__ import annotations

import json
import os

import pytest

from benchmarks import harness
from benchmarks.harness import Goal, Result


@pytest.mark.parametrize(
    ("value", "op", "goal", "holds"),
    [(3, ">=", 3, True), (2.9, ">=", 3, False), (2, "<=", 3, True), (0, "==", 0, True)],
)
def test_goal(value: float, op: str, goal: float, holds: bool) -> None:
    assert Goal("g", value, op, goal).holds is holds


def test_the_last_line_is_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    result = Result("host", {"ratio": 3.5}, [Goal("ratio", 3.5, ">=", 3.0)], [["host", "rate"], ["a", "1"]])
    harness.show(result)
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["bench"] == "host"
    assert last["figures"] == {"ratio": 3.5}
    assert last["goals"] == [{"name": "ratio", "value": 3.5, "op": ">=", "goal": 3.0, "holds": True}]
    assert last["machine"]["cores"] >= 1
    harness.show(result, only_json=True)
    assert json.loads(capsys.readouterr().out) == last | {"machine": result.machine}


def test_statistics() -> None:
    assert harness.median([3, 1, 2]) == 2
    assert harness.median([4, 1, 2, 3]) == 2.5
    assert harness.percentile(list(range(1, 101)), 0.99) == 99
    assert harness.percentile([5], 0.5) == 5
    assert harness.percentile([], 0.5) != harness.percentile([], 0.5)


def test_processor_time_grows() -> None:
    before = harness.cpu_seconds(os.getpid())
    while harness.cpu_seconds(os.getpid()) <= before:
        sum(range(10_000))
