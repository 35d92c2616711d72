from __future__ import annotations

from collections.abc import Awaitable

import pytest

from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.events import EventQuery
from services.audit.log import AuditLog
from services.audit.merkle import tiles
from services.audit.merkle.notes import Checkpoint, Signer
from services.audit.merkle.proofs import verify_consistency, verify_inclusion
from services.audit.ports import TreeBroken
from services.audit.proofs import Prover, require_consistent
from services.kernel.errors import AssayError, Reason
from services.kernel.paging import MAX_PAGE_BYTES
from tests.fixtures.audit import LOG_NAME, arrivals, audit_event

SIGNER = Signer.generate(LOG_NAME)


async def root(store: SqliteEventStore, size: int) -> bytes:
    return await store.tree(lambda _, read: tiles.root(size, read))


async def signed(store: SqliteEventStore, size: int) -> str:
    note = SIGNER.sign(Checkpoint(LOG_NAME, size, await root(store, size)))
    await store.save_checkpoint(size, note)
    return note


@pytest.fixture
async def prover(store: SqliteEventStore) -> Prover:
    """Ten entries, of which a checkpoint covers eight."""
    await store.put(arrivals([audit_event(number) for number in range(10)]))
    await signed(store, 8)
    return Prover(store, SIGNER.verifier)


async def refused(call: Awaitable[object]) -> AssayError:
    with pytest.raises(AssayError) as caught:
        await call
    return caught.value


async def test_inclusion_is_proved_in_the_newest_signed_tree_and_in_older_ones(
    store: SqliteEventStore, prover: Prover
) -> None:
    for size in (0, 4, 8):
        proof = await prover.inclusion("e000003", size)
        assert (proof.index, proof.size) == (3, size or 8)
        assert verify_inclusion(proof.leaf_hash, 3, proof.size, proof.path, await root(store, proof.size))
        assert proof.checkpoint == await store.newest_checkpoint()


async def test_consistency_is_proved_between_signed_trees(store: SqliteEventStore, prover: Prover) -> None:
    for first, second in ((3, 0), (3, 7), (8, 8), (0, 0)):
        proof = await prover.consistency(first, second)
        assert (proof.first, proof.second) == (first, second or 8)
        roots = await root(store, first), await root(store, proof.second)
        assert verify_consistency(first, proof.second, proof.path, *roots)


async def test_what_no_checkpoint_covers_yet_is_pending(store: SqliteEventStore, prover: Prover) -> None:
    error = await refused(prover.inclusion("e000008", 0))
    assert error.reason is Reason.PROOF_PENDING
    await signed(store, 10)
    assert (await prover.inclusion("e000008", 0)).size == 10


async def test_before_the_first_checkpoint_everything_is_pending(store: SqliteEventStore) -> None:
    await store.put(arrivals([audit_event(1)]))
    prover = Prover(store, SIGNER.verifier)
    for call in (prover.inclusion("e000001", 0), prover.consistency(0, 0), prover.checkpoint()):
        assert (await refused(call)).reason is Reason.PROOF_PENDING


async def test_sizes_out_of_range_are_refused_with_the_range(prover: Prover) -> None:
    for size in (-1, 3, 9):
        error = await refused(prover.inclusion("e000003", size))
        assert error.reason is Reason.FIELD_INVALID
        assert (error.metadata["field"], error.metadata["value"]) == ("tree_size", str(size))
        assert error.metadata["limit"].startswith("4 to 8")
    for first, second, field, limit in (
        (-1, 0, "first_size", "0 to 8"),
        (9, 0, "first_size", "0 to 8"),
        (5, 4, "first_size", "0 to 4"),
        (0, 9, "second_size", "1 to 8"),
        (0, -1, "second_size", "1 to 8"),
    ):
        error = await refused(prover.consistency(first, second))
        assert (error.reason, error.metadata["field"]) == (Reason.FIELD_INVALID, field)
        assert error.metadata["limit"].startswith(limit)
    for start, size, field in ((-1, 0, "start_index"), (2**63 - 1, 0, "start_index"), (0, -1, "page_size")):
        error = await refused(prover.entries(start, size, records=True))
        assert (error.reason, error.metadata["field"]) == (Reason.FIELD_INVALID, field)


async def test_events_that_are_not_there(prover: Prover) -> None:
    assert (await refused(prover.inclusion("", 0))).reason is Reason.FIELD_INVALID
    for unknown in ("e9", "\0"):
        assert (await refused(prover.inclusion(unknown, 0))).reason is Reason.EVENT_UNKNOWN


async def test_entries_are_clamped_and_end_with_the_log(prover: Prover) -> None:
    assert [entry.index for entry in await prover.entries(7, 2, records=False)] == [7, 8]
    assert len(await prover.entries(0, 0, records=False)) == 10
    assert len(await prover.entries(0, 5000, records=False)) == 10
    assert await prover.entries(10, 1, records=False) == []


async def test_large_entries_and_events_come_in_smaller_pages(store: SqliteEventStore) -> None:
    events = [audit_event(number) for number in range(80)]
    for event in events:
        event.input.masked_text = "字" * 20_000  # 60 kB, almost as long as a text may be
    await store.put(arrivals(events))
    prover, log = Prover(store, SIGNER.verifier), AuditLog(store)
    indexes: list[int] = []
    while page := await prover.entries(len(indexes), 0, records=True):
        assert sum(len(entry.record) for entry in page) <= MAX_PAGE_BYTES
        indexes += [entry.index for entry in page]
    assert indexes == list(range(80))
    assert len(await prover.entries(0, 0, records=False)) == 80
    ids: list[str] = []
    token = ""
    while True:
        found, token = await log.page(EventQuery(), 1000, token)
        assert sum(len(logged.event) for logged in found) <= MAX_PAGE_BYTES
        ids += [logged.event_id for logged in found]
        if not token:
            break
    assert ids == [event.event_id for event in reversed(events)]


async def test_damage_is_named(store: SqliteEventStore, prover: Prover) -> None:
    await store.database.write(lambda transaction: transaction.execute("UPDATE tiles SET hashes = x'00'"))
    for call in (prover.inclusion("e000003", 0), prover.consistency(3, 0)):
        error = await refused(call)
        assert error.reason is Reason.LOG_DAMAGED
        assert "tile 0 of level 0" in error.metadata["place"]


async def test_a_checkpoint_that_this_log_did_not_sign_is_not_given_out(
    store: SqliteEventStore, prover: Prover
) -> None:
    await store.save_checkpoint(9, Signer.generate(LOG_NAME).sign(Checkpoint(LOG_NAME, 9, bytes(32))))
    error = await refused(prover.checkpoint())
    assert (error.reason, error.metadata["place"]) == (Reason.LOG_DAMAGED, "the newest checkpoint")


async def test_a_tree_is_consistent_with_what_it_grew_from_alone(store: SqliteEventStore, prover: Prover) -> None:
    good = Checkpoint(LOG_NAME, 4, await root(store, 4))
    await store.view(lambda view: require_consistent(good, view))
    for older, fault in (
        (Checkpoint(LOG_NAME, 4, bytes(32)), "first 4 entries"),
        (Checkpoint(LOG_NAME, 11, bytes(32)), "has 10 entries"),
    ):
        with pytest.raises(TreeBroken) as caught:
            await store.view(lambda view, older=older: require_consistent(older, view))  # type: ignore[misc]
        assert fault in caught.value.fault
