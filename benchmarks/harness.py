"""What every benchmark shares: its result, how it is shown and judged, and measuring processes from outside."""

from __future__ import annotations

import json
import math
import operator
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_TICKS = os.sysconf("SC_CLK_TCK")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, "==": operator.eq}


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that must stand in a relation to a number."""

    name: str
    value: float
    op: str
    goal: float

    @property
    def holds(self) -> bool:
        return _OPERATORS[self.op](self.value, self.goal)


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark found. `table` is for people: a header row, then rows of cells."""

    bench: str
    figures: Mapping[str, Any]
    goals: Sequence[Goal]
    table: Sequence[Sequence[str]] = ()
    machine: Mapping[str, Any] = field(default_factory=lambda: machine())

    @property
    def holds(self) -> bool:
        """Whether every goal holds."""
        return all(goal.holds for goal in self.goals)

    def as_json(self) -> str:
        """Returns one line: {"bench", "figures", "goals": [{"name", "value", "op", "goal", "holds"}], "machine"}."""
        goals = [
            {"name": goal.name, "value": goal.value, "op": goal.op, "goal": goal.goal, "holds": goal.holds}
            for goal in self.goals
        ]
        return json.dumps(
            {"bench": self.bench, "figures": self.figures, "goals": goals, "machine": self.machine}, ensure_ascii=False
        )


def show(result: Result, only_json: bool = False) -> None:
    """Prints the table and the goals, then, as the last line, the JSON object."""
    if not only_json:
        console = Console()
        if result.table:
            header, *rows = result.table
            table = Table(title=f"assay bench {result.bench}", title_justify="left")
            for number, name in enumerate(header):
                table.add_column(name, justify="left" if number == 0 else "right")
            for row in rows:
                table.add_row(*row)
            console.print(table)
        for goal in result.goals:
            verdict = "[green]holds[/green]" if goal.holds else "[red]does not hold[/red]"
            console.print(f"{goal.name}: {goal.value:.3g}, goal {goal.op} {goal.goal:g}: {verdict}", highlight=False)
    print(result.as_json())


def machine() -> dict[str, Any]:
    """Returns what a figure depends on: processor, cores that this process may use, Python, system."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def cores() -> tuple[set[int], set[int]]:
    """Returns a core for the server and one for the load; the same one where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, {usable[-1]}


def cpu_seconds(pid: int) -> float:
    """Returns the processor time, user and system, of a process and of its children, dead ones included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used = sum(int(value) for value in fields[11:15]) / _TICKS
    return used + sum(cpu_seconds(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            continue
    return found


def median(values: Sequence[float]) -> float:
    """Returns the middle value, the mean of the two middle ones for an even number."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least `share` (0 to 1) of the values do not exceed; nan without values."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
