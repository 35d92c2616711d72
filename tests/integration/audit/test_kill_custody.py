"""kill -9 while contents expire and move to the archive: what is gone is exactly what the log says is gone."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import grpc
import pytest
from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.audit import convert
from services.audit.adapters.custody import SqlCustody
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.events import EventQuery, State
from services.audit.merkle import tiles
from services.audit.merkle.entries import read_content, read_entries, to_entry
from services.audit.merkle.notes import Checkpoint
from services.audit.merkle.verification import verify
from services.audit.months import Month
from services.audit.vault import Vault
from services.kernel.identifiers import uuid7
from tests.fixtures.audit import arrivals, audit_event, key_settings
from tests.fixtures.services import running_service
from tests.fixtures.valkey import ValkeyServer

DAY = 86_400 * 10**9
OLD, LATER = 22_000, 6_000
"""Entries that are old enough to expire, and entries of past months that are not."""


class Aged:
    """A log that was filled long ago, as its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = key_settings(folder / "keys")
        self.now = time.time_ns()

    def open(self) -> SqliteEventStore:
        vault = Vault.from_file(Path(self.keys["key_file"]))
        return SqliteEventStore(self.folder / "audit.sqlite3", vault, lambda: self.now)

    async def fill(self) -> None:
        store, today = self.open(), self.now
        past = Month.of(Month.of(today).start - 1)  # the month before this one
        for count, when in ((OLD, today - 200 * DAY), (LATER, past.start + 1)):
            self.now = when
            for start in range(0, count, 1000):
                events = [audit_event(number, event_id=uuid7()) for number in range(start, start + 1000)]
                for event in events:
                    event.create_time.FromNanoseconds(when)
                await store.put(arrivals(events))
        self.now = today
        await SqlCustody(store, self.intact).trust(today)  # a service was there all the time
        await store.close()

    async def intact(self) -> None:
        pass


async def require_explained(aged: Aged) -> tuple[list[State], list[audit_pb2.AuditEvent]]:
    """Verifies the log as anybody would; returns where each entry's content is, and the log's actions."""
    store = aged.open()
    size, root = await store.tree(lambda size, read: (size, tiles.root(size, read)))
    entries = []
    while len(entries) < size:
        entries += await store.entries(len(entries), 1000, records=True)
    verdict = verify(map(to_entry, map(convert.from_entry, entries)), [Checkpoint("t", size, root)], read_content)
    assert verdict.ok, str(verdict.finding)
    found = await store.page(EventQuery(outcome="action"), None, 1000)
    await store.close()
    return [entry.state for entry in entries], [audit_pb2.AuditEvent.FromString(one.event) for one in found]


def seen(aged: Aged) -> tuple[int, int]:
    """How many contents are in the database, and how many files in the archive, half ones included."""
    with closing(sqlite3.connect(f"{(aged.folder / 'audit.sqlite3').as_uri()}?mode=ro", uri=True)) as connection:
        (rows,) = connection.execute("SELECT COUNT(*) FROM entries").fetchone()
    return rows, sum(path.is_file() for path in (aged.folder / "archive").rglob("*"))


async def progress(aged: Aged, asking: asyncio.Task[None]) -> None:
    """Returns as soon as something was removed or copied, or nothing is left to do."""
    before = seen(aged)
    async with asyncio.timeout(120):
        while seen(aged) == before and not asking.done():
            await asyncio.sleep(0.001)


@pytest.fixture
async def aged(tmp_path: Path) -> Aged:
    made = Aged(tmp_path)
    await made.fill()
    return made


async def test_kill_9_while_contents_expire_and_move_loses_nothing_that_is_not_said(
    aged: Aged, valkey: ValkeyServer
) -> None:
    archive = aged.folder / "archive"
    settings = {f"ASSAY_{name.upper()}": value for name, value in aged.keys.items()}
    settings["ASSAY_ARCHIVE"] = archive.as_uri()
    before = Timestamp()
    before.GetCurrentTime()
    request = audit_pb2.ArchiveEventsRequest(before=before, operator="ops")

    async def ask(address: str) -> None:
        """Archives; whoever asks is told nothing when the service is killed."""
        async with grpc.aio.insecure_channel(address) as channel:
            admin = audit_pb2_grpc.AuditAdminServiceStub(channel)
            with suppress(grpc.aio.AioRpcError):
                await admin.ArchiveEvents(request, timeout=60)

    with running_service("audit", aged.folder, valkey.url, settings) as service:  # expires as soon as it runs
        for _ in range(3):
            asking = asyncio.create_task(ask(service.address))
            await progress(aged, asking)
            await asyncio.to_thread(service.kill)
            await asking
            await require_explained(aged)
            await asyncio.to_thread(service.start)
        async with grpc.aio.insecure_channel(service.address) as channel, asyncio.timeout(120):
            admin = audit_pb2_grpc.AuditAdminServiceStub(channel)
            await admin.ExpireEvents(audit_pb2.ExpireEventsRequest(operator="ops"))
            await admin.ArchiveEvents(request)
    states, actions = await require_explained(aged)
    assert not [state for state in states[: OLD + LATER] if state is State.PRESENT]
    # What was old enough to expire may have been moved before.
    assert State.EXPIRED not in states[OLD : OLD + LATER]
    objects = [action.action.contents_archived for action in actions if action.action.HasField("contents_archived")]
    moved = [
        entry.place for said in objects for entry in read_entries(io.BytesIO((archive / said.object).read_bytes()))
    ]
    assert sorted(moved) == [index for index, state in enumerate(states) if state is State.ARCHIVED]
