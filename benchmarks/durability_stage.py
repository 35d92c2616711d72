"""What trials of the durability benchmark run on: a mesh on one of the storages, its load, its log and its breaker."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.durability_faults import Breaker, Down
from benchmarks.durability_load import Load
from benchmarks.durability_log import AuditLog
from benchmarks.postgres_server import PostgresMissing, PostgresServer
from benchmarks.small_disk import MeshOnSmallDisks, SmallDisks, SmallDisksMissing
from cli import kafka
from cli.mesh import Mesh

ON_SMALL_DISKS = ("gateway", "audit")
"""Parts whose disks are filled."""


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


class StorageMissing(Exception):
    """The machine lacks what a storage needs; the text says what."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    mesh: Mesh
    breaker: Breaker
    load: Load
    log: AuditLog
    no_disks: str
    """Why no disk can be filled, so that processes are kept from writing instead; empty where disks can."""


@asynccontextmanager
async def opened(storage: Storage, folder: Path) -> AsyncIterator[Stage]:
    """Starts a mesh in a folder, ready, and stops it; its files stay.

    Raises:
        StorageMissing
        CommandFailed: the mesh does not start.
    """
    async with AsyncExitStack() as closing:
        # Nothing is kept free on the disk, so that it is really the last byte that is missing.
        settings = {"gateway": {"AUDIT_DURABILITY": storage.durability, "OUTBOX_MIN_FREE_BYTES": "0"}}
        database = None
        if storage.kafka:
            await asyncio.to_thread(_require_kafka)
        if storage.postgres:
            server = _postgres(folder / "postgres")
            closing.push_async_callback(asyncio.to_thread, server.stop)
            await asyncio.to_thread(server.start)
            settings["audit"] = {"STORE": server.url()}
            database = Down(partial(asyncio.to_thread, server.kill), partial(asyncio.to_thread, server.start))
        data = folder / "mesh"
        published = data / "audit" / "checkpoints.log"
        disks, no_disks = _small_disks(data, closing)
        if disks is None:
            mesh = Mesh(data, kafka=storage.kafka, settings=settings)
        else:
            mesh = MeshOnSmallDisks(data, disks, ON_SMALL_DISKS, kafka=storage.kafka, settings=settings)
            published = disks.outside(published)
        await closing.enter_async_context(mesh)
        await mesh.ready()
        load = await closing.enter_async_context(Load(mesh.address))
        log = AuditLog(mesh.parts["audit"].view.address, published)
        closing.push_async_callback(log.close)
        yield Stage(mesh, Breaker(mesh, disks, database), load, log, no_disks)


def _require_kafka() -> None:
    try:
        kafka.find_java()
        kafka.fetch()
    except kafka.KafkaMissing as fault:
        raise StorageMissing(str(fault)) from None


def _postgres(folder: Path) -> PostgresServer:
    folder.mkdir()
    try:
        return PostgresServer(folder)
    except PostgresMissing as fault:
        raise StorageMissing(str(fault)) from None


def _small_disks(data: Path, closing: AsyncExitStack) -> tuple[SmallDisks | None, str]:
    """Returns small disks, whose files are copied in the end to where they would be without; or why there are none."""
    folders = [data / part for part in ON_SMALL_DISKS]
    for folder in folders:
        folder.mkdir(parents=True)
    try:
        disks = SmallDisks(folders)
    except SmallDisksMissing as fault:
        return None, str(fault)
    closing.callback(disks.close)
    for folder in folders:
        closing.callback(shutil.copytree, disks.outside(folder), folder, dirs_exist_ok=True)
    return disks, ""
