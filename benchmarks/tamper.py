"""assay bench tamper: is every change of a log found, and is its place named?

Each trial takes a log that the real store made, its checkpoints signed and witnessed as it grew; makes one change to a
copy of its database; serves the copy as the audit service does; and verifies it over gRPC, as `assay audit verify
--witness` does. What was changed, and where, is drawn from the seed. Found means that the verification fails; its
place is right when it is the very entry; and without the witness's hashes, with the checkpoints alone, the range that
is named must hold it. As many logs that nobody touched must raise no alarm.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.harness import Goal, Result
from benchmarks.tamper_log import DATABASE, MadeLog, Workshop
from benchmarks.tamper_mutations import MUTATIONS, mutate
from cli.audit_examine import examine
from cli.failure import CommandFailed
from cli.witness_folder import WitnessFolder
from services.audit.merkle.verification import LeafHashes, Verdict

SEED = 20261123
TRIALS, QUICK_TRIALS = 1000, 60
_LEAST, _MOST = 257, 600
"""Entries of a log that is changed: more than a tile, so that there are hashes above the leaves to change."""

_LOGS = 10
_OLDER = 3


def run(quick: bool, trials: int | None = None, seed: int = SEED, trial: int | None = None) -> Result:
    """Runs `trials` changes and as many untouched logs; with `trial` that change alone."""
    count = trials or (QUICK_TRIALS if quick else TRIALS)
    started = time.perf_counter()
    tally: Counter[tuple[str, str]] = Counter()
    alarms = 0
    workshop = Workshop()
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with (
            tempfile.TemporaryDirectory(prefix="assay-tamper-") as folder,
            Progress(*columns, console=Console(stderr=True), transient=True) as bar,
        ):
            logs = _logs(Path(folder), workshop, seed)
            for number in bar.track([trial] if trial is not None else range(count), description="changes"):
                for figure, kind in _changed(Path(folder) / "trial", number, logs, workshop, seed):
                    tally[figure, kind] += 1
            if trial is None:
                for number in bar.track(range(count), description="untouched"):
                    alarms += _untouched(Path(folder) / "untouched", number, workshop, seed)
    finally:
        workshop.close()
    return _result(tally, alarms, 0 if trial is not None else count, seed, time.perf_counter() - started)


def _logs(folder: Path, workshop: Workshop, seed: int) -> Sequence[MadeLog]:
    made: list[MadeLog] = []
    for number in range(_LOGS):
        chance = random.Random(f"{seed} log {number}")
        while len(made) <= number:
            size = chance.randint(_LEAST, _MOST)
            log = workshop.make(folder / f"log-{number}", size, chance, _OLDER)
            if log.older:
                made.append(log)
            else:  # no signed state before the last one that could be rolled back to
                shutil.rmtree(folder / f"log-{number}")
    return made


def _changed(
    folder: Path, number: int, logs: Sequence[MadeLog], workshop: Workshop, seed: int
) -> list[tuple[str, str]]:
    """Runs one trial; returns what it counts for."""
    chance = random.Random(f"{seed} trial {number}")
    kind = list(MUTATIONS)[number % len(MUTATIONS)]
    made = chance.choice(logs)
    folder.mkdir()
    try:
        shutil.copy(made.database, folder / DATABASE)
        done, first = mutate(kind, made, folder / DATABASE, workshop, chance)
        witness = WitnessFolder(made.witness)
        named = _verify(folder / DATABASE, workshop, witness, witness.leaf_hashes)
        alone = _verify(folder / DATABASE, workshop, witness, b"")
    finally:
        shutil.rmtree(folder)
    counts = [("trials", kind)]
    if named is not None and not named.ok:
        counts.append(("found", kind))
        finding = named.finding
        if (finding is None) if first is None else (finding is not None and finding.exact and finding.start == first):
            counts.append(("place right", kind))
    if alone is not None and not alone.ok:
        finding = alone.finding
        if (finding is None) if first is None else (finding is not None and finding.start <= first < finding.end):
            counts.append(("range right", kind))
    if len(counts) < 4:
        words = f"{done} at {first}: with witness {_words(named)}; with checkpoints alone {_words(alone)}"
        print(f"seed {seed}, trial {number}: {words}", file=sys.stderr)
    return counts


def _untouched(folder: Path, number: int, workshop: Workshop, seed: int) -> bool:
    """Makes a log of its own and verifies it; returns whether there was an alarm."""
    chance = random.Random(f"{seed} untouched {number}")
    try:
        made = workshop.make(folder, chance.randint(1, _MOST), chance)
        witness = WitnessFolder(made.witness)
        verdict = _verify(made.database, workshop, witness, witness.leaf_hashes)
    finally:
        shutil.rmtree(folder)
    if verdict is not None and verdict.ok and verdict.proven == made.size:
        return False
    print(f"seed {seed}, untouched log {number} of {made.size} entries: {_words(verdict)}", file=sys.stderr)
    return True


def _verify(database: Path, workshop: Workshop, witness: WitnessFolder, leaves: LeafHashes) -> Verdict | None:
    """Returns the verdict; None when the log could not be verified at all."""
    with workshop.serving(database) as log:
        try:
            return examine(log, workshop.signer.verifier, witness.checkpoints, leaves, search=True)
        except CommandFailed as failure:
            print(failure.message, file=sys.stderr)
            return None


def _words(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not verified"
    return str(verdict.finding) if verdict.finding else verdict.proof_fault or "whole"


def _result(tally: Mapping[tuple[str, str], int], alarms: int, untouched: int, seed: int, seconds: float) -> Result:
    def total(figure: str) -> int:
        return sum(count for (name, _), count in tally.items() if name == figure)

    figures = ("trials", "found", "place right", "range right")
    rows = [(kind, *(str(tally.get((figure, kind), 0)) for figure in figures)) for kind in MUTATIONS]
    trials = total("trials")
    return Result(
        "tamper",
        {
            "trials": trials,
            "found": total("found"),
            "index_right": total("place right"),
            "range_right_without_witness": total("range right"),
            "untouched": untouched,
            "false_alarms": alarms,
            "seed": seed,
            "seconds": round(seconds, 1),
        },
        [
            Goal("changes found", total("found"), "==", trials),
            Goal("first bad index right", total("place right"), "==", trials),
            Goal("range right with checkpoints alone", total("range right"), "==", trials),
            Goal("false alarms", alarms, "==", 0),
        ],
        [("change", "trials", "found", "first bad index right", "range right, no witness"), *rows],
    )
