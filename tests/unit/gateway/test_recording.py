from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.gateway.durability import Tell, Written
from services.gateway.ports import Entry
from services.gateway.recording import Recorder
from services.gateway.records import AuditRecord, ReviewRequest
from services.kernel.errors import AssayError, Reason
from services.kernel.eventlog.port import Event
from tests.fixtures.gateway.outbox import MemoryOutbox


def encode(record: AuditRecord, review: ReviewRequest | None) -> list[Entry]:
    return [Entry("audit", Event(record.audit_id, b""))]


def record(audit_id: str) -> AuditRecord:
    return AuditRecord(audit_id, 0, "", "", "", "", "", "", "", "", b"", "", 0, 0, 0, 0.0)


def keys(outbox: MemoryOutbox) -> list[str]:
    return [stored.entry.event.key for stored in outbox.head(1000)]


async def test_what_is_ready_in_one_turn_is_one_commit() -> None:
    outbox, woken = MemoryOutbox(), []
    recorder = Recorder(outbox, encode, Written(outbox, lambda: woken.append(1)))
    await asyncio.gather(*(recorder.record([(record(str(number)), None)]) for number in range(20)))
    assert outbox.commits == [20]
    assert keys(outbox) == [str(number) for number in range(20)]
    assert woken == [1]


async def test_nothing_returns_before_the_commit() -> None:
    outbox = MemoryOutbox()
    recorder = Recorder(outbox, encode, Written(outbox, lambda: None))
    task = asyncio.create_task(recorder.record([(record("a"), None)]))
    while not task.done():
        assert not outbox.commits
        await asyncio.sleep(0)
        if outbox.commits:
            break
    await task
    assert outbox.commits == [1]


async def test_a_broken_outbox_refuses_all_of_the_turn_and_works_again_afterwards() -> None:
    outbox = MemoryOutbox()
    recorder = Recorder(outbox, encode, Written(outbox, lambda: None))
    outbox.broken = True
    results = await asyncio.gather(
        *(recorder.record([(record(str(number)), None)]) for number in range(3)), return_exceptions=True
    )
    assert [result.reason for result in results if isinstance(result, AssayError)] == [Reason.AUDIT_UNAVAILABLE] * 3
    outbox.broken = False
    await recorder.record([(record("later"), None)])
    assert keys(outbox) == ["later"]


async def test_a_full_outbox_refuses_before_the_work() -> None:
    outbox = MemoryOutbox(max_events=1)
    recorder = Recorder(outbox, encode, Written(outbox, lambda: None))
    recorder.require_room()
    await recorder.record([(record("a"), None)])
    with pytest.raises(AssayError) as refused:
        recorder.require_room()
    assert refused.value.metadata == {"part": "outbox"}


async def test_a_caller_that_leaves_meanwhile_takes_nobody_elses_record_along() -> None:
    outbox = MemoryOutbox()
    recorder = Recorder(outbox, encode, Written(outbox, lambda: None))
    tasks = [asyncio.create_task(recorder.record([(record(name), None)])) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(tasks[0], tasks[2])
    assert keys(outbox) == ["a", "b", "c"]


async def test_records_of_departed_callers_are_stored_without_waiting() -> None:
    outbox = MemoryOutbox()
    recorder = Recorder(outbox, encode, Written(outbox, lambda: None))
    recorder.record_departed([record("gone")])
    recorder.flush()
    assert keys(outbox) == ["gone"]
    outbox.broken = True
    recorder.record_departed([record("lost")])
    recorder.flush()
    assert recorder.lost == 1


class Slow:
    """A durability that tells when the test does."""

    name = "slow"

    def __init__(self) -> None:
        self.tells: list[Tell] = []

    def keep(self, entries: Sequence[Entry], tell: Tell) -> None:
        self.tells.append(tell)

    async def close(self) -> None:
        """Nothing is under way."""


@pytest.mark.parametrize("kept", [True, False])
async def test_whose_time_is_over_hears_of_it_after_the_record_is_kept(kept: bool) -> None:
    slow = Slow()
    recorder = Recorder(MemoryOutbox(), encode, slow)
    task = asyncio.create_task(recorder.record([(record("late"), None)]))
    await asyncio.sleep(0)
    recorder.flush()
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    slow.tells[0](kept)
    with pytest.raises(asyncio.CancelledError if kept else AssayError):
        await task


async def test_what_is_kept_in_the_moment_of_the_cancellation_is_kept() -> None:
    slow = Slow()
    recorder = Recorder(MemoryOutbox(), encode, slow)
    task = asyncio.create_task(recorder.record([(record("late"), None)]))
    await asyncio.sleep(0)
    recorder.flush()
    slow.tells[0](True)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_caller_that_leaves_before_a_refusal_counts_as_lost() -> None:
    slow = Slow()
    recorder = Recorder(MemoryOutbox(), encode, slow)
    task = asyncio.create_task(recorder.record([(record("a"), None)]))
    await asyncio.sleep(0)
    recorder.record_departed([record("c"), record("d")])
    recorder.flush()
    for _ in range(2):  # its time is over, and then it is gone
        task.cancel()
        await asyncio.sleep(0)
    assert task.done()
    slow.tells[0](False)
    assert recorder.lost == 3


async def test_an_outbox_that_could_not_be_written_refuses_the_next_call_before_its_work() -> None:
    outbox = MemoryOutbox()
    recorder = Recorder(outbox, encode, Written(outbox, lambda: None))
    outbox.broken = True
    with pytest.raises(AssayError):
        recorder.require_room()


async def test_closing_keeps_what_waits() -> None:
    outbox = MemoryOutbox()
    recorder = Recorder(outbox, encode, Written(outbox, lambda: None))
    task = asyncio.create_task(recorder.record([(record("a"), None)]))
    await asyncio.sleep(0)
    await recorder.close()
    await task
    assert keys(outbox) == ["a"]
