"""A log that was held, erased, archived and expired, as somebody sees it who trusts nobody: `assay audit verify`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.audit import audit
from services.audit import convert
from services.audit.adapters.custody import SqlCustody, empty_log
from services.audit.adapters.objects import UrlObjects
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.archive import Archiver
from services.audit.custody import Hold, Person
from services.audit.merkle import tiles
from services.audit.merkle.entries import framed
from services.audit.merkle.notes import Checkpoint, Signer
from services.audit.months import Month
from services.kernel.identifiers import uuid7
from tests.fixtures.audit import arrivals, audit_event, vault

SIGNER = Signer.generate("test.example/audit")


class Log:
    """A log whose clock a test turns, and exports of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 0
        self.store = SqliteEventStore(folder / "a.sqlite3", vault(), lambda: self.now)
        self.custody = SqlCustody(self.store, self._intact, scrub=lambda: empty_log(folder / "a.sqlite3"))
        self.archiver = Archiver(
            self.custody,
            self.store,
            UrlObjects((folder / "archive").as_uri()),
            lambda entry: framed(convert.from_entry(entry)),
            lambda: self.now,
        )
        self.put = 0

    async def _intact(self) -> None:
        pass

    async def fill(self, month: Month, events: int) -> None:
        self.now = month.start + 10**9
        made = [audit_event(self.put + number) for number in range(events)]
        for event in made:
            event.create_time.FromNanoseconds(self.now)
        self.put += events
        await self.store.put(arrivals(made))

    async def exported(self, name: str) -> Path:
        """Writes what `assay audit export` would."""
        size, root = await self.store.tree(lambda size, read: (size, tiles.root(size, read)))
        file = self.folder / name
        entries = await self.store.entries(0, 1000, records=True)
        assert len(entries) == size
        file.write_bytes(b"".join(framed(convert.from_entry(entry)) for entry in entries))
        note = SIGNER.sign(Checkpoint(SIGNER.name, size, root))
        file.with_name(f"{name}.checkpoint").write_text(note)
        return file


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    made = Log(tmp_path)
    yield made
    await made.store.close()


def verified(*arguments: object) -> Result:
    return CliRunner().invoke(audit, ["verify", *map(str, arguments), "--public-key", SIGNER.verifier.vkey, "--json"])


async def test_everything_that_may_be_done_leaves_a_log_that_verifies(log: Log) -> None:
    await log.fill(Month(2026, 1), 30)
    old = await log.exported("january.log")
    await log.fill(Month(2026, 2), 30)
    await log.fill(Month(2026, 3), 30)
    await log.custody.place(
        Hold("acme", "ward-7", Month(2026, 2).start, hold_id=uuid7(), create_time=log.now), "counsel"
    )
    assert (await log.custody.erase(Person("acme", "anonymous"), "ticket 5", "dpo")).events == 45
    archived = await log.archiver.archive(Month(2026, 2).start, "ops")
    assert archived.events == 30
    assert await log.custody.expire(Month(2026, 3).start, 1000, "ops") == 15
    await log.custody.tidy(Month(2026, 3).start)
    await log.fill(Month(2026, 4), 5)
    file = await log.exported("all.log")
    checkpoint = f"{old}.checkpoint"
    answer = verified(file, "--checkpoint", checkpoint)
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.stdout)
    assert report["ok"]
    [object_] = [log.folder / "archive" / name for name in archived.objects]
    answer = verified(file, "--checkpoint", checkpoint, "--archive", object_)
    assert answer.exit_code == 0, answer.output


async def test_a_changed_object_of_the_archive_is_found(log: Log) -> None:
    await log.fill(Month(2026, 1), 30)
    await log.fill(Month(2026, 2), 1)
    [name] = (await log.archiver.archive(Month(2026, 2).start, "ops")).objects
    file = await log.exported("all.log")
    object_ = log.folder / "archive" / name
    assert verified(file, "--archive", object_).exit_code == 0
    content = object_.read_bytes()
    object_.write_bytes(content.replace(b"e000017", b"e999917"))
    answer = verified(file, "--archive", object_)
    assert answer.exit_code == 1
    assert "17" in answer.stdout


async def test_contents_that_go_without_an_action_are_found(log: Log) -> None:
    await log.fill(Month(2026, 1), 10)
    await log.store.database.write(lambda transaction: transaction.execute("DELETE FROM entries WHERE idx = 4"))
    await log.store.database.write(lambda transaction: transaction.execute("INSERT INTO removed VALUES (4, 5, 2)"))
    answer = verified(await log.exported("all.log"))
    assert answer.exit_code == 1
    assert "no action of the log says so" in answer.stdout
