from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.audit.adapters.notebook import Notebook
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.checkpoints import Checkpointer
from services.audit.merkle import tiles
from services.audit.merkle.notes import Signer, open_note, split_notes
from services.audit.ports import TreeBroken
from services.kernel.eventlog.memory import MemoryLog
from services.kernel.eventlog.topics import CHECKPOINT_TOPIC
from services.kernel.stores import Stored, StoreUnavailable
from tests.fixtures.audit import LOG_NAME, arrival, arrivals, audit_event, vault


class Desk:
    """A log with its checkpointer, whose publisher and file a test can look at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = MemoryLog()
        self.signer = Signer.generate(LOG_NAME)
        self.file = folder / "checkpoints.log"
        self.now = 0.0
        self.open()

    def open(self) -> None:
        """As a service does that starts again."""
        self.store = SqliteEventStore(self.folder / "audit.sqlite3", vault())
        self.checkpointer = Checkpointer(
            self.store, self.signer, Notebook(self.file), self.log.publisher(), 0.01, lambda: self.now
        )

    async def reopen(self) -> None:
        await self.store.close()
        self.open()

    async def append(self, *numbers: int) -> None:
        await self.checkpointer.put(arrivals([audit_event(number) for number in numbers]))

    def written(self) -> list[int]:
        """The sizes of the checkpoints in the file."""
        notes = split_notes(self.file.read_text()) if self.file.exists() else ()
        return [open_note(note, [self.signer.verifier]).size for note in notes]

    def published(self) -> list[str]:
        return [event.key for event in self.log.events(CHECKPOINT_TOPIC)]

    def figure(self, name: str) -> float:
        [value] = [family.samples[0].value for family in self.checkpointer.collect() if family.name == name]
        return value


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    yield made
    await made.store.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_checkpoint_is_made_when_the_tree_grew_and_not_otherwise(desk: Desk) -> None:
    await desk.checkpointer.sign()
    await desk.append(1, 2)
    await desk.checkpointer.sign()
    await desk.checkpointer.sign()
    await desk.append(3)
    await desk.checkpointer.sign()
    assert desk.written() == [0, 2, 3]
    note = await desk.store.newest_checkpoint()
    assert note is not None
    checkpoint = open_note(note, [desk.signer.verifier])
    assert checkpoint.root == await desk.store.tree(lambda size, read: tiles.root(size, read))
    assert desk.figure("assay_audit_entries") == desk.figure("assay_audit_checkpoint_entries") == 3


async def test_checkpoints_are_published_as_they_are_signed(desk: Desk) -> None:
    tasks = [asyncio.create_task(work()) for work in (desk.checkpointer.run, desk.checkpointer.publish)]
    await desk.append(1)
    await until(lambda: "1" in desk.published())
    await desk.append(2)
    await until(lambda: "2" in desk.published())
    for task in tasks:
        task.cancel()
    last = desk.log.events(CHECKPOINT_TOPIC)[-1]
    assert last.payload.decode() == await desk.store.newest_checkpoint()
    assert desk.figure("assay_audit_published_entries") == 2


async def test_a_log_that_is_away_holds_up_no_append_and_gets_the_newest_afterwards(desk: Desk) -> None:
    desk.log.down = True
    tasks = [asyncio.create_task(work()) for work in (desk.checkpointer.run, desk.checkpointer.publish)]
    for number in (1, 2, 3):
        await desk.append(number)
        await until(lambda number=number: number in desk.written())  # type: ignore[misc]
    desk.now = 7.0
    await until(lambda: desk.figure("assay_audit_unpublished_seconds") == 7.0)
    with pytest.raises(StoreUnavailable):
        await desk.checkpointer.ping_publication()
    desk.log.down = False
    await until(lambda: "3" in desk.published())
    await until(lambda: desk.figure("assay_audit_unpublished_seconds") == 0.0)
    await desk.checkpointer.ping_publication()
    for task in tasks:
        task.cancel()


async def test_after_a_restart_the_newest_is_published_again_and_none_is_signed_twice(desk: Desk) -> None:
    await desk.append(1)
    await desk.checkpointer.sign()
    await desk.reopen()
    await desk.checkpointer.sign()
    publishing = asyncio.create_task(desk.checkpointer.publish())
    await until(lambda: desk.published() == ["1"])
    publishing.cancel()
    assert desk.written() == [1]


async def test_a_file_that_is_behind_the_store_catches_up(desk: Desk) -> None:
    await desk.append(1)
    await desk.checkpointer.sign()
    desk.file.unlink()
    await desk.reopen()
    await desk.checkpointer.sign()
    assert desk.written() == [1]


async def broken(desk: Desk) -> str:
    """Returns the fault for which a service that starts now takes nothing, and sees that it takes nothing."""
    await desk.reopen()
    for _ in range(2):
        with pytest.raises(TreeBroken) as caught:
            await desk.append(99)
    with pytest.raises(TreeBroken):
        await desk.checkpointer.sign()
    with pytest.raises(TreeBroken):
        await desk.checkpointer.ping()
    assert desk.figure("assay_audit_tree_intact") == 0
    assert await desk.store.index_of("e000099") is None
    return caught.value.fault


async def test_a_log_that_was_rolled_back_takes_nothing(desk: Desk) -> None:
    await desk.append(1)
    await desk.checkpointer.sign()
    await desk.store.close()
    old = (desk.folder / "audit.sqlite3").read_bytes()
    desk.open()
    await desk.append(2)
    await desk.checkpointer.sign()
    await desk.store.close()
    (desk.folder / "audit.sqlite3").write_bytes(old)
    desk.open()
    assert "has 1 entries, and a signed checkpoint says that it had 2" in await broken(desk)


async def test_a_log_whose_tree_was_changed_takes_nothing(desk: Desk) -> None:
    await desk.append(1, 2)
    await desk.checkpointer.sign()
    await desk.store.database.write(
        lambda transaction: transaction.execute("UPDATE tiles SET hashes = ?", (bytes(64),))
    )
    assert "not those of the signed checkpoint" in await broken(desk)


async def test_a_log_with_another_key_takes_nothing(desk: Desk) -> None:
    await desk.append(1)
    await desk.checkpointer.sign()
    desk.signer = Signer.generate(LOG_NAME)
    assert "can't be trusted" in await broken(desk)


async def test_a_tree_that_is_changed_under_the_running_service_is_not_signed_again(desk: Desk) -> None:
    await desk.append(1, 2)
    await desk.checkpointer.sign()
    await desk.store.database.write(
        lambda transaction: transaction.execute("UPDATE tiles SET hashes = ?", (bytes(64),))
    )
    running = asyncio.create_task(desk.checkpointer.run())
    await until(lambda: desk.checkpointer.broken is not None)
    running.cancel()
    with pytest.raises(TreeBroken):
        await desk.append(3)
    assert desk.written() == [2]


async def test_a_file_that_can_not_be_written_holds_up_no_append_and_is_tried_again(desk: Desk) -> None:
    await desk.append(1)
    desk.file.mkdir()  # nothing can be written where a folder is
    running = asyncio.create_task(desk.checkpointer.run())
    await until(lambda: desk.checkpointer.late)
    desk.now = 5.0
    assert desk.figure("assay_audit_checkpoint_late_seconds") == 5.0
    await desk.append(2)
    desk.file.rmdir()
    await until(lambda: desk.written() == [2])
    await until(lambda: not desk.checkpointer.late)
    running.cancel()


async def test_put_says_what_became_of_each(desk: Desk) -> None:
    item = arrival(audit_event(1))
    assert await desk.checkpointer.put([item, item]) == [Stored.NEW, Stored.REPEAT]
