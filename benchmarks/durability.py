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
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.durability_faults import Breaker, Down, Fault, draw
from benchmarks.durability_load import Load
from benchmarks.durability_log import AuditLog, LogUnreadable
from benchmarks.durability_oracle import UNAUDITED, Verdict, judge
from benchmarks.harness import Goal, Result
from benchmarks.postgres_server import PostgresServer
from benchmarks.small_disk import MeshOnSmallDisks, SmallDisks, SmallDisksMissing
from cli.mesh import Mesh

SEED = 6
TRIALS, QUICK_TRIALS = 20, 6
LOAD_SECONDS = 2.5
"""How long things break. The load goes on until all is back, and for RECOVERED_SECONDS more."""
RECOVERED_SECONDS = 0.5
SETTLE_SECONDS = 90.0
"""After so long without a fault nothing is late any more: what is missing then is lost."""
ON_SMALL_DISKS = ("gateway", "audit")
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a mesh keeps its events: the broker, the audit log's database; and when a record counts as durable."""

    kafka: bool
    postgres: bool
    durability: str

    @property
    def name(self) -> str:
        broker, database = "kafka" if self.kafka else "valkey", "postgresql" if self.postgres else "sqlite"
        return f"{broker}, {database}, {self.durability}"


STORAGES = (
    Storage(kafka=False, postgres=False, durability="process"),
    Storage(kafka=True, postgres=True, durability="broker"),
    Storage(kafka=False, postgres=True, durability="fsync"),
    Storage(kafka=True, postgres=False, durability="process"),
)
"""Trial n runs on number n of these, counted round and round."""


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
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # it remarks on every process that is started
    seed = SEED if seed is None else seed
    count = trials or (QUICK_TRIALS if quick else TRIALS)
    numbers = [trial] if trial is not None else list(range(count))
    return asyncio.run(_Bench(seed, numbers).run())


class _Bench:
    def __init__(self, seed: int, numbers: Sequence[int]) -> None:
        self._seed = seed
        self._numbers = numbers
        self._console = Console(stderr=True, highlight=False)
        self._trials: list[Trial] = []
        self._checkpoints = 0
        self._full_by = "a small file system"

    async def run(self) -> Result:
        start = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress:
            task = progress.add_task("trials", total=len(self._numbers))
            for at, storage in enumerate(STORAGES):
                own = [number for number in self._numbers if number % len(STORAGES) == at]
                if own:
                    await self._on(storage, own, lambda: progress.advance(task))
        return self._result(time.monotonic() - start)

    async def _on(self, storage: Storage, numbers: Sequence[int], advance: Any) -> None:
        """Runs trials on one mesh. Its folder stays where one of them was not clean."""
        folder = Path(tempfile.mkdtemp(prefix="assay-durability-"))
        kept = True
        try:
            async with AsyncExitStack() as closing:
                # Nothing is kept free on the disk, so that it is really the last byte that is missing.
                settings = {"gateway": {"AUDIT_DURABILITY": storage.durability, "OUTBOX_MIN_FREE_BYTES": "0"}}
                database = None
                if storage.postgres:
                    (folder / "postgres").mkdir()
                    server = PostgresServer(folder / "postgres")
                    closing.push_async_callback(asyncio.to_thread, server.stop)
                    await asyncio.to_thread(server.start)
                    settings["audit"] = {"STORE": server.url()}
                    database = Down(partial(asyncio.to_thread, server.kill), partial(asyncio.to_thread, server.start))
                disks = self._small_disks([folder / "mesh" / part for part in ON_SMALL_DISKS], closing)
                mesh = await closing.enter_async_context(_mesh(folder / "mesh", storage, settings, disks))
                await mesh.ready()
                breaker = Breaker(mesh, disks, database)
                load = await closing.enter_async_context(Load(mesh.address))
                published = folder / "mesh" / "audit" / "checkpoints.log"
                published = published if disks is None else disks.outside(published)
                log = AuditLog(mesh.parts["audit"].view.address, published)
                closing.push_async_callback(log.close)
                seen: set[str] = set()
                for number in numbers:
                    faults = draw(self._seed, number, LOAD_SECONDS)
                    try:
                        found = await self._trial(Trial(number, storage.name), faults, breaker, mesh, load, log)
                    except BaseException:
                        self._console.print(f"[red]trial {number} broke off[/red]: {'; '.join(map(str, faults))}")
                        raise
                    wrong = [*found.verdict.lines(), *found.unverified]
                    found.found = [line for line in wrong if line not in seen]
                    seen.update(wrong)
                    self._say(found)
                    self._trials.append(found)
                    advance()
                self._checkpoints += log.checkpoints
            kept = not all(trial.clean for trial in self._trials if trial.storage == storage.name)
        finally:
            if kept:
                self._console.print(f"the mesh's folder is kept: {folder}", soft_wrap=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def _small_disks(self, folders: Sequence[Path], closing: AsyncExitStack) -> SmallDisks | None:
        """Returns a small disk for each folder; what is on them in the end is copied into the folders."""
        for folder in folders:
            folder.mkdir(parents=True)
        try:
            disks = SmallDisks(folders)
        except SmallDisksMissing as fault:
            self._full_by = "RLIMIT_FSIZE"
            self._console.print(f"no small disks here ({fault}); processes are kept from writing instead")
            return None
        closing.callback(disks.close)
        for folder in folders:
            closing.callback(shutil.copytree, disks.outside(folder), folder, dirs_exist_ok=True)
        return disks

    async def _trial(
        self,
        trial: Trial,
        faults: Sequence[Fault],
        breaker: Breaker,
        mesh: Mesh,
        load: Load,
        log: AuditLog,
    ) -> Trial:
        chance = random.Random(f"{self._seed}/{trial.number}/load")
        start, since = time.monotonic(), time.time_ns()
        before = len(load.calls)
        enough = asyncio.Event()
        loading = asyncio.create_task(load.run(trial.number, enough, random.Random(chance.random())))
        try:
            trial.events, _ = await asyncio.gather(
                breaker.run(faults, random.Random(chance.random())), asyncio.sleep(LOAD_SECONDS)
            )
            await mesh.ready()
            await asyncio.sleep(RECOVERED_SECONDS)
        finally:
            enough.set()
        await loading
        await self._settle(trial, mesh, load, log, since)
        own = load.calls[before:]
        told = [told for call in own for told in call.answers]
        trial.calls, trial.answered = len(own), len(told)
        trial.unaudited = sum(told.reason == UNAUDITED for told in told)
        trial.seconds = time.monotonic() - start
        return trial

    async def _settle(self, trial: Trial, mesh: Mesh, load: Load, log: AuditLog, since: int) -> None:
        """Waits until nothing is on its way any more and the log has all, or the time is over."""
        end = time.monotonic() + SETTLE_SECONDS
        quiet = 0
        while quiet < 2:
            if time.monotonic() > end:
                break
            try:
                waiting = await _on_their_way(mesh)
                await log.read(since)
                await log.verify()
            except (LogUnreadable, httpx.HTTPError) as fault:
                waiting, quiet = 1, 0
                if time.monotonic() > end:
                    trial.unverified.append(f"it can't be read: {fault}")
                await asyncio.sleep(_POLL_SECONDS)
                continue
            trial.verdict = judge(load.calls, list(log.records.values()), log.leaves)
            trial.unverified = list(log.faults)
            if trial.verdict.lost or waiting or log.signed != log.size:
                quiet = 0
            else:
                quiet += 1
            await asyncio.sleep(_POLL_SECONDS)
        if quiet < 2 and log.signed != log.size:
            trial.unverified.append(f"the newest checkpoint is of {log.signed} entries; the log has {log.size}")

    def _say(self, trial: Trial) -> None:
        """Prints a trial's line, and what it found wrong."""
        verdict = "[green]clean[/green]" if trial.clean else "[red]not clean[/red]"
        self._console.print(
            f"trial {trial.number:>3}  {trial.storage}  {verdict}  {trial.answered} answers, "
            f"{trial.unaudited} unaudited  {trial.seconds:.1f} s  {'; '.join(trial.events)}",
            soft_wrap=True,
        )
        for line in trial.found:
            self._console.print(f"    [red]{line}[/red]", soft_wrap=True)
        if not trial.clean:
            again = f"assay bench durability --seed {self._seed} --trial {trial.number}"
            self._console.print(f"    to run it again: {again}")

    def _result(self, seconds: float) -> Result:
        # The last verdict of each mesh holds all before it.
        last = {trial.storage: trial for trial in self._trials}.values()
        faults = Counter(event.partition(" at ")[0] for trial in self._trials for event in trial.events)
        figures: dict[str, Any] = {
            "trials": len(self._trials),
            "seed": self._seed,
            "clean_trials": sum(trial.clean for trial in self._trials),
            "calls": sum(trial.calls for trial in self._trials),
            "answered": sum(trial.answered for trial in self._trials),
            "refused_as_unaudited": sum(trial.unaudited for trial in self._trials),
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
            own = [trial for trial in self._trials if trial.storage == storage.name]
            if own:
                mean = sum(trial.seconds for trial in own) / len(own)
                clean = sum(trial.clean for trial in own)
                answers = sum(trial.answered for trial in own)
                table.append([storage.name, f"{len(own)}", f"{clean}", f"{answers:,}", f"{mean:.1f}"])
        goals = [
            Goal(name, figures[name], "==", 0)
            for name in ("lost", "double", "phantom", "wrong", "failed_verifications")
        ]
        goals.append(Goal("answered", figures["answered"], ">=", 1))
        return Result("durability", figures, goals, table)


def _mesh(data: Path, storage: Storage, settings: dict[str, dict[str, str]], disks: SmallDisks | None) -> Mesh:
    if disks is None:
        return Mesh(data, kafka=storage.kafka, settings=settings)
    return MeshOnSmallDisks(data, disks, ON_SMALL_DISKS, kafka=storage.kafka, settings=settings)


async def _on_their_way(mesh: Mesh) -> float:
    """Returns how many events wait in the outbox or in the event log.

    Raises:
        httpx.HTTPError: a part does not say.
    """
    total = 0.0
    async with httpx.AsyncClient(trust_env=False) as client:
        for part, gauge in (("gateway", "gateway_outbox_events"), ("audit", "assay_consumer_lag")):
            page = await client.get(f"http://{mesh.parts[part].view.metrics}/metrics")
            for family in text_string_to_metric_families(page.text):
                if family.name == gauge:
                    total += sum(sample.value for sample in family.samples)
    return total
