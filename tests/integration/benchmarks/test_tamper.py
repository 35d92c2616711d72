"""`assay bench tamper`, a few trials of every kind of change."""

from __future__ import annotations

from benchmarks import tamper
from benchmarks.tamper_mutations import MUTATIONS


def test_every_kind_of_change_is_found_and_placed() -> None:
    trials = 2 * len(MUTATIONS)
    result = tamper.run(quick=True, trials=trials, seed=1)
    assert result.holds, result.as_json()
    assert (result.figures["trials"], result.figures["untouched"]) == (trials, trials)


def test_one_trial_can_be_run_again_alone() -> None:
    result = tamper.run(quick=True, seed=1, trial=5)
    assert result.figures["trials"] == result.figures["found"] == 1
