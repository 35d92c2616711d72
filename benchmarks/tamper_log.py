"""Logs for the benchmark of tampering: made by the real store and checkpointer, served and witnessed over real gRPC."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from assay.errors.v1 import errors_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from cli.audit_reader import AuditReader
from cli.witness import visit
from cli.witness_folder import WitnessFolder
from services.audit import convert
from services.audit.adapters.notebook import Notebook
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.checkpoints import Checkpointer
from services.audit.events import Arrival
from services.audit.log import AuditLog
from services.audit.merkle.notes import Signer
from services.audit.proofs import Prover
from services.audit.servicer import AuditServicer
from services.audit.vault import Vault
from services.kernel.application import Application
from services.kernel.eventlog.memory import MemoryLog
from services.kernel.hosting import aio

Result = TypeVar("Result")

DATABASE = "audit.sqlite3"
_MOST_IN_A_BATCH = 150


@dataclass(frozen=True, slots=True)
class MadeLog:
    """A log that was made, and what a witness kept of it."""

    database: Path
    size: int
    older: Sequence[tuple[int, Path]]
    """Copies of the database as it was when it had fewer entries, just signed."""

    witness: Path


class Workshop:
    """Makes and serves logs, all with the same keys. Stores and servers run on an event loop of their own thread."""

    def __init__(self) -> None:
        self.vault = Vault(bytes(32))
        self.signer = Signer.generate("bench.test/audit")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tamper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def make(self, folder: Path, size: int, chance: random.Random, older: int = 0) -> MadeLog:
        """Makes a log of `size` entries in batches, signing and witnessing now and then, and at the end."""
        folder.mkdir(parents=True)
        copies: list[tuple[int, Path]] = []
        with self.opened(folder / DATABASE) as store, self._served(store) as log:
            checkpointer = self._checkpointer(store, folder)
            witness = WitnessFolder(folder / "witness", self.signer.verifier)
            with witness.held():
                done = 0
                while done < size:
                    batch = events(done, min(chance.randint(1, _MOST_IN_A_BATCH), size - done), chance)
                    self.run(store.put(batch))
                    done += len(batch)
                    if done == size or chance.random() < 0.6:
                        self.run(checkpointer.sign())
                        if done == size or chance.random() < 0.5:
                            visit(witness, log)
                        if done < size and len(copies) < older:
                            copies.append((done, _copy(folder / DATABASE, folder / f"older-{done}.sqlite3")))
        return MadeLog(folder / DATABASE, size, copies, folder / "witness")

    def extend(self, database: Path, size: int, chance: random.Random) -> None:
        """Appends other events to a log, up to `size` entries, and signs it, as who holds the key can."""
        with self.opened(database) as store:
            held = self.run(store.tree(lambda size, read: size))
            self.run(store.put(events(held, size - held, chance)))
            self.run(self._checkpointer(store, database.parent / "fork").sign())

    @contextmanager
    def serving(self, database: Path) -> Iterator[AuditReader]:
        """Serves a database as the audit service does."""
        with self.opened(database) as store, self._served(store) as log:
            yield log

    @contextmanager
    def opened(self, database: Path) -> Iterator[SqliteEventStore]:
        """Opens a database."""
        store = SqliteEventStore(database, self.vault)
        try:
            yield store
        finally:
            self.run(store.close())

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Runs on the workshop's loop; returns what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _checkpointer(self, store: SqliteEventStore, folder: Path) -> Checkpointer:
        notebook = Notebook(folder / "checkpoints.log")
        return Checkpointer(store, self.signer, notebook, MemoryLog().publisher())

    @contextmanager
    def _served(self, store: SqliteEventStore) -> Iterator[AuditReader]:
        servicer = AuditServicer(AuditLog(store), Prover(store, self.signer.verifier))
        register: Callable[[Any], None] = partial(audit_pb2_grpc.add_AuditServiceServicer_to_server, servicer)

        @asynccontextmanager
        async def build() -> AsyncIterator[Application]:
            name = audit_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name
            yield Application(name="audit", registrations=[register], service_names=[name])

        host = aio.host(build, "127.0.0.1:0", drain_seconds=0)
        _, port = self.run(host.__aenter__())
        try:
            with AuditReader(f"127.0.0.1:{port}") as log:
                yield log
        finally:
            self.run(host.__aexit__(None, None, None))


def events(first: int, count: int, chance: random.Random) -> list[Arrival]:
    """Makes events of a few tenants, persons and outcomes, with ids that no other call makes."""
    made = []
    for number in range(first, first + count):
        event = audit_pb2.AuditEvent(
            event_id=f"{chance.getrandbits(48):012x}-{number}",
            schema=1,
            create_time=Timestamp(seconds=1_700_000_000 + number, nanos=chance.randrange(10**9)),
            tenant=chance.choice(["acme", "zenith"]),
            caller=f"ward-{chance.randint(1, 5)}",
            request_id=f"{chance.getrandbits(64):x}",
            method="/assay.ai.v1.AIService/ClassifyText",
            model="banking",
            model_version="v1.0.0",
            input=audit_pb2.AuditInput(masked_text="text " * chance.randint(1, 40), characters=20),
            gateway="bench",
        )
        if chance.random() < 0.2:
            event.error.reason = errors_pb2.ERROR_REASON_TEXT_BLANK
        else:
            event.answer.label = chance.choice(["card_lost", "fever", "other"])
            event.answer.confidence = chance.random()
        made.append(convert.arrival_of(event, event.SerializeToString()))
    return made


def _copy(database: Path, to: Path) -> Path:
    source, target = sqlite3.connect(database), sqlite3.connect(to)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    return to
