"""What breaks in a trial of the durability benchmark, and when: drawn from (seed, trial), then done to a running mesh.

Two of the victims are no process of their own: the relay lives in the gateway, so both die together, and a SQLite
database lives in the audit writer.
"""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.durability_outbox import tear
from benchmarks.small_disk import SmallDisks
from cli.mesh import Mesh

GATEWAY, RELAY, CLASSIFIER, BROKER, WRITER, DATABASE = (
    "gateway",
    "relay",
    "classifier",
    "broker",
    "audit writer",
    "database",
)
VICTIMS = (GATEWAY, RELAY, CLASSIFIER, BROKER, WRITER, DATABASE)
KILL, FULL, TORN = "kill", "disk full", "torn outbox"
_KINDS: Mapping[str, int] = {KILL: 14, FULL: 3, TORN: 3}
_AGAIN = 0.3
"""The chance that a victim dies twice."""
_LONGEST_DOWN_SECONDS = 1.0
_FULL_SECONDS = (0.6, 1.6)
_FILL_AGAIN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that breaks. Times in seconds from the start of the load."""

    kind: str
    victim: str
    at: float
    lasts: float
    """How long it stays down, or its disk full."""

    def __str__(self) -> str:
        return f"{self.kind} {self.victim} at {self.at:.2f} s for {self.lasts:.2f} s"


def draw(seed: int, trial: int, load_seconds: float) -> list[Fault]:
    """Returns the faults of a trial in the order of their times, the same for the same arguments."""
    chance = random.Random(f"{seed}/{trial}/faults")
    (kind,) = chance.choices(list(_KINDS), list(_KINDS.values()))
    moments = (0.1 * load_seconds, load_seconds)
    if kind == FULL:
        victim = chance.choice((GATEWAY, WRITER))
        return [Fault(FULL, victim, chance.uniform(moments[0], load_seconds / 2), chance.uniform(*_FULL_SECONDS))]
    if kind == TORN:
        faults = [Fault(TORN, GATEWAY, chance.uniform(*moments), chance.uniform(0.0, _LONGEST_DOWN_SECONDS))]
        victims = chance.sample(VICTIMS[2:], chance.randint(0, 1))  # the log away makes sure that the outbox is filled
    else:
        faults = []
        victims = chance.sample(VICTIMS, chance.randint(1, len(VICTIMS)))
    for victim in victims:
        for _ in range(2 if chance.random() < _AGAIN else 1):
            lasts = chance.uniform(0.0, _LONGEST_DOWN_SECONDS)
            faults.append(Fault(KILL, victim, chance.uniform(*moments), lasts))
    return sorted(faults, key=lambda fault: fault.at)


@dataclass(frozen=True, slots=True)
class Down:
    """How to kill a process -9 and keep it down, and how to let it come back."""

    hold: Callable[[], Awaitable[None]]
    release: Callable[[], Awaitable[None]]


class Breaker:
    """Does faults to a mesh. `database` is for a database that is no part of it."""

    def __init__(self, mesh: Mesh, disks: SmallDisks | None, database: Down | None = None) -> None:
        """Without `disks` of their own, parts are kept from writing in another way."""
        self._mesh = mesh
        self._disks = disks
        self._database = database
        self._turns: dict[str, asyncio.Lock] = {}

    async def run(self, faults: Sequence[Fault], chance: random.Random) -> list[str]:
        """Does each at its time; returns, when all are over and undone, what was done."""
        return list(await asyncio.gather(*(self._one(fault, random.Random(chance.random())) for fault in faults)))

    def part(self, victim: str) -> str:
        """Returns the part of the mesh that dies with a victim; "" for a database of its own."""
        match victim:
            case "gateway" | "relay":
                return "gateway"
            case "broker":
                return "kafka" if "kafka" in self._mesh.parts else "valkey"
            case "audit writer":
                return "audit"
            case "database":
                return "" if self._database is not None else "audit"
        return victim

    async def _one(self, fault: Fault, own: random.Random) -> str:
        await asyncio.sleep(fault.at)
        part = self.part(fault.victim)
        async with self._turns.setdefault(part, asyncio.Lock()):
            if fault.kind == FULL:
                return await self._fill(part, fault)
            down = self._database if not part and self._database is not None else self._part_down(part)
            await down.hold()
            try:
                torn = tear(self._outbox_log(), own) if fault.kind == TORN else ""
                await asyncio.sleep(fault.lasts)
            finally:
                await down.release()
        return f"{fault}{f' ({torn})' if torn else ''}"

    def _part_down(self, part: str) -> Down:
        async def release() -> None:
            self._mesh.release(part)

        return Down(lambda: self._mesh.hold(part), release)

    def _outbox_log(self) -> Path:
        log = self._mesh.folder.of(GATEWAY) / "outbox.sqlite3-wal"
        return log if self._disks is None else self._disks.outside(log)

    async def _fill(self, part: str, fault: Fault) -> str:
        """Fills the disk, again and again while it lasts, because who sees a full disk may give some of it back."""
        if self._disks is None:
            return await self._forbid(part, fault)
        folder = self._mesh.folder.of(part)
        end = time.monotonic() + fault.lasts
        try:
            while time.monotonic() < end:
                await asyncio.to_thread(self._disks.fill, folder)
                await asyncio.sleep(_FILL_AGAIN_SECONDS)
        finally:
            self._disks.free(folder)
        return str(fault)

    async def _forbid(self, part: str, fault: Fault) -> str:
        """No file of the process can be written while it lasts: each write fails, the one that it is in included."""
        pid = self._mesh.parts[part].view.pid
        if pid is None:
            return f"{fault}: it was down"
        try:
            _limit_files(pid, 0)
            await asyncio.sleep(fault.lasts)
        finally:
            with suppress(ProcessLookupError):
                _limit_files(pid, resource.RLIM_INFINITY)
        return str(fault)


def _limit_files(pid: int, size: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    soft = size if hard == resource.RLIM_INFINITY or size == 0 else hard
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def kinds(faults: Collection[Fault]) -> set[str]:
    """Returns what kinds of faults there are."""
    return {fault.kind for fault in faults}
