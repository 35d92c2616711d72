"""The bare loop in processes of its own, as `assay bench path` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.path import bare_loops, messages
from benchmarks.texts import COUNT
from tests.fixtures.bundles import write_bundles


def test_every_process_classifies_until_its_time_is_over(tmp_path: Path) -> None:
    models = write_bundles(tmp_path)
    with bare_loops(models, 2) as bare:
        for rows in (1, 4):
            rate, cost = bare.run(rows, 0.1)
            assert rate > 0
            assert cost > 0


def test_a_process_that_cannot_start_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="bare loop ended"), bare_loops(tmp_path, 1):
        pass
    assert "no encoder bundle found" in capfd.readouterr().err


def test_there_is_a_request_for_every_text() -> None:
    assert len(set(messages())) == COUNT
