"""What `assay up` shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cli.part import State, View
from cli.up import JsonScreen, Screen, table

VIEW = View("audit", "127.0.0.1:17001", "127.0.0.1:17002", Path("/data/logs/audit.log"), State.STARTING, pid=4711)
FAILING = replace(
    VIEW,
    state=State.FAILING,
    pid=None,
    restarts=6,
    detail="ended with exit code 2",
    last_lines=("ASSAY_DATA is not set",),
)


def test_plain_output_has_one_line_for_each_state(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen() as screen:
        screen.changed(VIEW)
        screen.changed(replace(VIEW, detail="nothing listens"))
        screen.changed(replace(VIEW, state=State.READY))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines] == [["audit", "starting"], ["audit", "ready"]]
    assert "127.0.0.1:17001 pid 4711" in lines[0]


def test_a_failing_part_shows_its_last_words(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen() as screen:
        screen.changed(FAILING)
    output = capsys.readouterr().out
    assert "failing    ended with exit code 2" in output
    assert "ASSAY_DATA is not set" in output
    assert "/data/logs/audit.log" in output


def test_json_output_has_one_object_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonScreen() as screen:
        screen.changed(VIEW)
        screen.changed(FAILING)
        screen.stopped()
    first, second, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"], first["name"], first["state"], first["pid"]) == ("part", "audit", "starting", 4711)
    assert second["last_lines"] == ["ASSAY_DATA is not set"]
    assert last == {"event": "stopped"}


def test_the_table_shows_state_address_pid_and_restarts() -> None:
    console = Console(width=120, record=True, file=None)
    with console.capture() as shown:
        console.print(table([VIEW, FAILING]))
    heading, *rows = shown.get().splitlines()
    assert heading.split() == ["part", "state", "address", "pid", "restarts", "since"]
    assert rows[0].split()[:5] == ["audit", "starting", "127.0.0.1:17001", "4711", "0"]
    assert rows[1].split()[:5] == ["audit", "failing", "127.0.0.1:17001", "-", "6"]
