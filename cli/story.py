"""What `assay demo` shows: its texts, its steps and its tables."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.part import State, View
from cli.records import outcome


@dataclass(frozen=True, slots=True)
class Sample:
    """A text, the model that it goes to, and what it shows."""

    text: str
    model: str
    doubtful: bool = False
    personal: tuple[str, ...] = ()
    """Personal data in it, which no record may hold."""


SAMPLES = (
    Sample("What will the weather be like in Berlin tomorrow?", "intent"),
    Sample("Please transfer 100 dollars from my checking to my savings account", "intent"),
    Sample("I still have not received my new card, I ordered it two weeks ago", "banking"),
    Sample("Why was I charged a fee when I took cash out of a machine?", "banking"),
    Sample("我爸爸有高血压，最近总是头晕、心慌，吃什么药好？", "triage"),
    Sample("房间很干净，服务员热情，性价比很高，下次还会再来！", "sentiment"),
    Sample("质量太差了，用了两天就坏，客服也不理人，再也不买了。", "sentiment"),
    Sample(
        "About that thing from last week: call me on 13812345678 or write to li.lei@example.com",
        "banking",
        doubtful=True,
        personal=("13812345678", "li.lei@example.com"),
    ),
)
_ROOMY, _WIDE = 120, 160
"""Columns of a screen from which on the audit table shows the text, and more of it."""
_TEXT_COLUMNS = 30
REFUSED = {"text": "my card " * 400, "model": "banking"}


class Story:
    """Tells the person what happens."""

    def __init__(self, console: Console, began: float) -> None:
        self.console = console
        self._began = began
        self._step = 0
        self._ready: set[str] = set()

    def elapsed(self) -> float:
        return round(time.monotonic() - self._began, 1)

    def step(self, words: str) -> None:
        self._step += 1
        self.console.print(Text(f"\n{self._step}. {words}", style="bold"))

    def line(self, words: str, style: str = "") -> None:
        self.console.print(Text(f"   {words}", style=style))

    def changed(self, view: View) -> None:
        """Says when a part is ready for the first time, and when one fails."""
        if view.state is State.READY and view.name not in self._ready:
            self._ready.add(view.name)
            self.line(f"{view.name:<10} ready after {self.elapsed():>4.1f} s at {view.address}", "green")
        elif view.state in (State.RESTARTING, State.FAILING):
            self.line(f"{view.name:<10} {view.state}: {view.detail}; its log is {view.log}", "red")


def answers(texts: list[dict[str, Any]]) -> Table:
    """What was answered, a row for each text."""
    made = Table(box=None, header_style="bold", padding=(0, 1, 0, 2))
    made.add_column("text", min_width=24, max_width=60, overflow="fold")
    made.add_column("model", min_width=9, overflow="fold")
    made.add_column("label", min_width=10, overflow="fold")
    made.add_column("confidence", no_wrap=True)
    made.add_column("gRPC = REST", no_wrap=True)
    for entry in texts:
        sure = entry["review_task_id"] is None
        confidence = f"{float(entry['confidence']):.3f}"
        made.add_row(
            entry["text"],
            f"{entry['model']} {entry['model_version']}",
            entry["label"],
            Text(confidence) if sure else Text(f"{confidence} doubt", style="yellow"),
            Text("yes", style="green") if entry["agree"] else Text(f"no: {entry['rest'].get('label')}", style="red"),
        )
    return made


def events(report: Mapping[str, Any], width: int) -> Table:
    """The audit event of each call, as far as `width` columns have room for it."""
    made = Table(box=None, header_style="bold", padding=(0, 1, 0, 2))
    made.add_column("audit event", no_wrap=True)
    made.add_column("way", no_wrap=True)
    made.add_column("outcome", min_width=22, overflow="fold")
    roomy = width >= _ROOMY
    if roomy:
        made.add_column("text, masked", no_wrap=True)
        made.add_column("took", no_wrap=True)
    rows = [(way, event) for entry in report["texts"] for way, event in entry["audit"].items()]
    rows += [(way, refusal["audit"]) for way, refusal in report["refused"].items()]
    for way, event in rows:
        took = float(event["latency"].removesuffix("s")) * 1000 if event.get("latency") else 0.0
        text = Text(event["input"]["masked_text"])
        text.truncate(_TEXT_COLUMNS if width < _WIDE else 2 * _TEXT_COLUMNS, overflow="ellipsis")
        more = (text, Text(f"{took:.0f} ms"))
        way_name = {"grpc": "gRPC", "rest": "REST"}[way]
        made.add_row(event["event_id"], way_name, outcome(event), *(more if roomy else ()))
    return made
