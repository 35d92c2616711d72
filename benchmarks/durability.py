"""assay bench durability: is every answer in the audit log exactly once, whatever dies?

Each trial loads a whole mesh for some seconds, with good calls and bad ones, and meanwhile kills -9 a random non-empty
subset of gateway, relay, classifier, broker, audit writer and database, some twice, or fills the disk of one, or kills
the gateway and tears the end of its outbox. Then everything comes back, settles, and the oracle holds the audit log
against a ledger of all that was sent and answered: 0 lost, 0 double, 0 phantom, and a log that verifies.

What breaks, and when, follows from (seed, trial) alone, so a trial can be run again by itself with --trial. Trials take
turns on the storages; those of one storage share a mesh, which they leave as they found it.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.durability_faults import Fault, draw
from benchmarks.durability_log import LogUnreadable
from benchmarks.durability_oracle import UNAUDITED, Verdict, judge
from benchmarks.durability_stage import STORAGES, Stage, Storage, StorageMissing, opened
from benchmarks.harness import Goal, Result
from cli.failure import CommandFailed
from cli.mesh import Mesh

SEED = 6
TRIALS, QUICK_TRIALS = 20, 6
LOAD_SECONDS = 2.5
"""How long things break. The load goes on until all is back, and for RECOVERED_SECONDS more."""
RECOVERED_SECONDS = 0.5
SETTLE_SECONDS = 90.0
"""After so long without a fault nothing is late any more: what is missing then is lost."""
_POLL_SECONDS = 0.2


@dataclass(slots=True)
class Trial:
    """What became of one trial."""

    number: int
    storage: str
    seconds: float = 0.0
    calls: int = 0
    answered: int = 0
    """Texts, and calls as a whole, of which the caller was told something."""

    unaudited: int = 0
    """Of these, how many were told AUDIT_UNAVAILABLE."""

    events: list[str] = field(default_factory=list)
    """What was broken."""

    verdict: Verdict = field(default_factory=Verdict)
    """Of this trial and of those before it on the same mesh, which share a ledger."""

    unverified: list[str] = field(default_factory=list)
    """Why the log does not verify; of those before too."""

    found: list[str] = field(default_factory=list)
    """What of all that was not there before."""

    @property
    def clean(self) -> bool:
        return not self.found


def run(quick: bool, trials: int | None = None, seed: int | None = None, trial: int | None = None) -> Result:
    """Runs `trials` trials, or number `trial` alone."""
    count = trials or (QUICK_TRIALS if quick else TRIALS)
    numbers = [trial] if trial is not None else list(range(count))
    return asyncio.run(_Bench(SEED if seed is None else seed, numbers).run())


class _Bench:
    def __init__(self, seed: int, numbers: Sequence[int]) -> None:
        self._seed = seed
        self._numbers = numbers
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._meshes: list[list[Trial]] = []
        self._not_run = 0
        self._checkpoints = 0
        self._full_by = "a full file system"

    async def run(self) -> Result:
        start = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress:
            task = progress.add_task("trials", total=len(self._numbers))
            for at, storage in enumerate(STORAGES):
                left = [number for number in self._numbers if number % len(STORAGES) == at]
                while left:
                    # A mesh that does not come back ends its trial; the next ones get a new mesh.
                    left = await self._on(storage, left, lambda: progress.advance(task))
        return self._result(time.monotonic() - start)

    async def _on(self, storage: Storage, numbers: Sequence[int], advance: Callable[[], None]) -> list[int]:
        """Runs trials on one mesh; returns those that it did not come to. Its folder stays where one was not clean."""
        folder = Path(tempfile.mkdtemp(prefix="assay-durability-"))
        trials: list[Trial] = []
        self._meshes.append(trials)
        kept = True
        try:
            async with opened(storage, folder) as stage:
                if stage.no_disks:
                    self._full_by = "RLIMIT_FSIZE"
                for number in numbers:
                    trials.append(Trial(number, storage.name))
                    stuck = await self._trial(trials, stage)
                    self._say(trials[-1])
                    advance()
                    if stuck:
                        break
                self._checkpoints += stage.log.checkpoints
            kept = not all(trial.clean for trial in trials)
        except StorageMissing as missing:
            self._console.print(f"[red]{len(numbers)} trials not run[/red] on {storage.name}: {missing}")
            self._not_run += len(numbers)
            kept = False
            return []
        finally:
            if kept:
                self._console.print(f"the mesh's folder is kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
        return list(numbers[len(trials) :])

    async def _trial(self, trials: Sequence[Trial], stage: Stage) -> bool:
        """Runs the last of the trials of a mesh; returns whether the mesh is of no use any more."""
        trial = trials[-1]
        if len(trials) > 1:
            before = trials[-2]
            trial.verdict, trial.unverified = before.verdict, list(before.unverified)
        seen = {*trial.verdict.lines(), *trial.unverified}
        faults = draw(self._seed, trial.number, LOAD_SECONDS)
        start, sent = time.monotonic(), len(stage.load.calls)
        stuck = False
        try:
            await self._break_and_settle(trial, faults, stage)
        except CommandFailed as failure:
            trial.events = trial.events or [str(fault) for fault in faults]
            trial.unverified.append(f"trial {trial.number}: {failure.message}")
            stuck = True
        told = [told for call in stage.load.calls[sent:] for told in call.answers]
        trial.calls, trial.answered = len(stage.load.calls) - sent, len(told)
        trial.unaudited = sum(told.reason == UNAUDITED for told in told)
        trial.seconds = time.monotonic() - start
        trial.found = [line for line in [*trial.verdict.lines(), *trial.unverified] if line not in seen]
        return stuck

    async def _break_and_settle(self, trial: Trial, faults: Sequence[Fault], stage: Stage) -> None:
        """Raises CommandFailed when the mesh does not come back."""
        chance = random.Random(f"{self._seed}/{trial.number}/load")
        since, enough = time.time_ns(), asyncio.Event()
        loading = asyncio.create_task(stage.load.run(trial.number, enough, random.Random(chance.random())))
        try:
            trial.events, _ = await asyncio.gather(
                stage.breaker.run(faults, random.Random(chance.random())), asyncio.sleep(LOAD_SECONDS)
            )
            await stage.mesh.ready()
            await asyncio.sleep(RECOVERED_SECONDS)
        finally:
            enough.set()
            await loading
        await _settle(trial, stage, since)

    def _say(self, trial: Trial) -> None:
        """Prints a trial's line, and what it found wrong."""
        verdict = "[green]clean[/green]" if trial.clean else "[red]not clean[/red]"
        self._console.print(
            f"trial {trial.number:>3}  {trial.storage}  {verdict}  {trial.answered} answers, "
            f"{trial.unaudited} unaudited  {trial.seconds:.1f} s  {'; '.join(trial.events)}"
        )
        for line in trial.found:
            self._console.print(f"    [red]{line}[/red]")
        if not trial.clean:
            again = f"assay bench durability --seed {self._seed} --trial {trial.number}"
            self._console.print(f"    to run it again: {again}")

    def _result(self, seconds: float) -> Result:
        trials = [trial for mesh in self._meshes for trial in mesh]
        # The last verdict of each mesh holds all before it.
        last = [mesh[-1] for mesh in self._meshes if mesh]
        faults = Counter(event.partition(" at ")[0] for trial in trials for event in trial.events)
        figures: dict[str, Any] = {
            "trials": len(trials),
            "not_run": self._not_run,
            "seed": self._seed,
            "clean_trials": sum(trial.clean for trial in trials),
            "calls": sum(trial.calls for trial in trials),
            "answered": sum(trial.answered for trial in trials),
            "refused_as_unaudited": sum(trial.unaudited for trial in trials),
            "lost": sum(len(trial.verdict.lost) for trial in last),
            "double": sum(len(trial.verdict.double) for trial in last),
            "phantom": sum(len(trial.verdict.phantom) for trial in last),
            "wrong": sum(len(trial.verdict.wrong) for trial in last),
            "failed_verifications": sum(len(trial.unverified) for trial in last),
            "checkpoints_verified": self._checkpoints,
            "faults": dict(sorted(faults.items())),
            "disk_full_by": self._full_by,
            "seconds": round(seconds, 1),
        }
        table = [["storage", "trials", "clean", "answers", "seconds a trial"]]
        for storage in STORAGES:
            own = [trial for trial in trials if trial.storage == storage.name]
            if own:
                mean = sum(trial.seconds for trial in own) / len(own)
                clean = sum(trial.clean for trial in own)
                answers = sum(trial.answered for trial in own)
                table.append([storage.name, f"{len(own)}", f"{clean}", f"{answers:,}", f"{mean:.1f}"])
        nothing = ("lost", "double", "phantom", "wrong", "failed_verifications", "not_run")
        goals = [Goal(name, figures[name], "==", 0) for name in nothing]
        return Result("durability", figures, [*goals, Goal("answered", figures["answered"], ">=", 1)], table)


async def _settle(trial: Trial, stage: Stage, since: int) -> None:
    """Waits until nothing is on its way any more and the log has all, or the time is over; writes the verdict down."""
    end = time.monotonic() + SETTLE_SECONDS
    known = list(trial.unverified)
    quiet, unreadable = 0, ""
    log = stage.log
    while quiet < 2 and time.monotonic() < end:
        try:
            waiting = await _on_their_way(stage.mesh)
            await log.read(since)
            await log.verify()
        except (LogUnreadable, httpx.HTTPError) as fault:
            quiet, unreadable = 0, f"trial {trial.number}: it can't be read: {fault}"
        else:
            unreadable = ""
            trial.verdict = judge(stage.load.calls, list(log.records.values()), log.leaves)
            quiet = 0 if trial.verdict.lost or waiting or log.signed != log.size else quiet + 1
        await asyncio.sleep(_POLL_SECONDS)
    trial.unverified = [*known, *(fault for fault in log.faults if fault not in known)]
    if unreadable:
        trial.unverified.append(unreadable)
    elif log.signed != log.size:
        trial.unverified.append(f"the newest checkpoint is of {log.signed} entries; the log has {log.size}")


async def _on_their_way(mesh: Mesh) -> float:
    """Returns how many events wait in the outbox or in the event log; at least 1 where a part does not know yet.

    Raises:
        httpx.HTTPError: a part does not say.
    """
    total = 0.0
    async with httpx.AsyncClient(trust_env=False) as client:
        for part, gauge in (("gateway", "gateway_outbox_events"), ("audit", "assay_consumer_lag")):
            page = await client.get(f"http://{mesh.parts[part].view.metrics}/metrics")
            families = text_string_to_metric_families(page.text)
            values = [sample.value for family in families if family.name == gauge for sample in family.samples]
            total += sum(values) if values else 1
    return total
