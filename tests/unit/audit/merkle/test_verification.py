"""What verification finds, and where it says that it is: exactly with a witness, in a range without."""

import io
import random
from collections.abc import Callable, Sequence

import pytest
from assay.audit.v1 import audit_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.merkle.entries import LONGEST_ENTRY, framed, read_content, read_entries, restored, to_entry
from services.audit.merkle.hashing import EMPTY_ROOT, leaf_hash
from services.audit.merkle.notes import Checkpoint
from services.audit.merkle.verification import EntriesBroken, Entry, RecordInvalid, State, Verdict, verify
from tests.fixtures.merkle_logs import ORIGIN, Log, entry, log, numbered, record, root_of, without_content

SIZES = [10, 60, 100]


def place(entries: Sequence[Entry], at: int, new: Entry) -> list[Entry]:
    return [*entries[:at], new, *entries[at + 1 :]]


@pytest.mark.parametrize("size", [1, 2, 7, 100, 999, 1000, 1001, 2500])
def test_an_untouched_log_is_whole(size: int) -> None:
    told: list[int] = []
    whole = log(size, [])
    checkpoints = [Checkpoint(ORIGIN, some, root_of(whole.entries[:some])) for some in (size, size // 2, 0)]
    verdict = verify(whole.entries, checkpoints, read_content, b"", told.append)
    assert verdict.ok
    assert (verdict.entries, verdict.proven, verdict.checkpoints) == (size, size, 3)
    assert verdict.root == root_of(whole.entries)
    assert told[-1] == size
    assert told == sorted(told)


def test_an_empty_log_is_whole() -> None:
    verdict = verify([], [Checkpoint(ORIGIN, 0, EMPTY_ROOT)], read_content)
    assert (verdict.ok, verdict.entries, verdict.checkpoints) == (True, 0, 1)


def test_an_empty_log_has_one_root() -> None:
    assert not verify([], [Checkpoint(ORIGIN, 0, bytes(32))], read_content).ok


def test_an_edited_record_is_named() -> None:
    whole = log(100, SIZES)
    for at in (0, 9, 10, 57, 99):
        verdict = whole.check(place(whole.entries, at, whole.entries[at]._replace(record=record(at, "another"))))
        assert str(verdict.finding) == f"entry {at}: its record does not have the hash that the log has for it"


def test_an_edited_record_with_its_leaf_hash_lies_between_two_checkpoints() -> None:
    whole = log(100, SIZES)
    verdict = whole.check(place(whole.entries, 57, entry(57, record(57, "another"))))
    assert str(verdict.finding) == "one of entries 10 to 59: not as in the checkpoint of 60 entries"
    assert (verdict.proven, verdict.checkpoints) == (10, 1)


def test_a_witness_names_an_edited_record_with_its_leaf_hash() -> None:
    whole = log(100, SIZES, witnessed=100)
    verdict = whole.check(place(whole.entries, 57, entry(57, record(57, "another"))))
    assert str(verdict.finding) == "entry 57: its leaf hash is not the one that the witness kept"


def test_what_a_witness_has_narrows_the_range() -> None:
    whole = log(100, SIZES, witnessed=40)
    verdict = whole.check(place(whole.entries, 57, entry(57, record(57, "another"))))
    assert verdict.finding is not None
    assert (verdict.finding.start, verdict.finding.end) == (40, 60)


def test_an_edit_behind_a_hidden_one_is_not_called_the_first() -> None:
    # The hidden one can't be seen by itself; but the tree up to the open one is not the one that was signed.
    whole = log(100, SIZES)
    edited = place(whole.entries, 30, entry(30, record(30, "hidden")))
    edited = place(edited, 45, edited[45]._replace(record=record(45, "open")))
    finding = whole.check(edited).finding
    assert finding is not None
    assert (finding.start, finding.end) == (10, 46)


def test_a_missing_entry_is_named() -> None:
    whole = log(100, SIZES, witnessed=100)
    missing = [*whole.entries[:57], *whole.entries[58:]]
    assert str(whole.check(missing).finding) == "entry 57: missing; entry 58 is in its place"
    assert str(whole.unwitnessed().check(missing).finding) == (
        "entry 57: missing; entry 58 is in its place; no checkpoint confirms those from 10 to it"
    )
    assert str(whole.unwitnessed().check([*whole.entries[:60], *whole.entries[61:]]).finding) == (
        "entry 60: missing; entry 61 is in its place"
    )


def test_two_entries_that_changed_places_are_named() -> None:
    whole = log(100, SIZES)
    swapped = place(place(whole.entries, 20, whole.entries[30]), 30, whole.entries[20])
    assert str(whole.check(swapped).finding).startswith("entry 20: missing; entry 30 is in its place; no checkpoint")
    records = place(whole.entries, 20, whole.entries[20]._replace(record=whole.entries[30].record))
    assert str(whole.check(records).finding).startswith("entry 20: its record does not have the hash")
    assert whole.check(numbered(swapped)).finding.start == 10  # type: ignore[union-attr]
    witnessed = Log(whole.entries, SIZES, witnessed=100)
    assert str(witnessed.check(numbered(swapped)).finding).startswith("entry 20: its leaf hash is not the one")


def test_a_truncated_log_is_named_by_its_first_missing_entry() -> None:
    whole = log(100, SIZES, witnessed=100)
    verdict = whole.check(whole.entries[:77])
    assert str(verdict.finding) == "entry 77: missing; the log ends here, and had 100 entries"
    assert verdict.proven == 60
    finding = whole.unwitnessed().check(whole.entries[:77]).finding
    assert finding is not None
    assert (finding.start, finding.end) == (60, 78)


def test_a_log_without_any_entry_left() -> None:
    assert str(log(100, SIZES).check([]).finding) == "entry 0: missing; the log ends here, and had 100 entries"


def test_entries_that_no_checkpoint_covers_are_a_fault() -> None:
    whole = log(100, SIZES)
    verdict = whole.check([*whole.entries, entry(100, record(100)), entry(101, record(101))])
    assert str(verdict.finding) == "entry 100: no checkpoint covers it"
    assert verdict.proven == 100


def test_a_fork_that_was_signed_anew_differs_from_an_older_checkpoint() -> None:
    whole = log(100, SIZES)
    fork = [*whole.entries[:57], *(entry(at, record(at, "forked")) for at in range(57, 120))]
    kept = [Checkpoint(ORIGIN, size, root_of(whole.entries[:size])) for size in SIZES]
    signed = Checkpoint(ORIGIN, 120, root_of(fork))
    finding = verify(fork, [signed, *kept], read_content).finding
    assert finding is not None
    assert (finding.start, finding.end) == (10, 60)
    leaves = b"".join(one.leaf_hash for one in whole.entries)
    assert str(verify(fork, [signed, *kept], read_content, leaves).finding).startswith("entry 57:")
    # Whoever has nothing but what the forger signed can't see it.
    assert verify(fork, [signed], read_content).ok


def test_two_checkpoints_of_one_size_that_differ() -> None:
    whole = log(20, [])
    both = [Checkpoint(ORIGIN, 20, root_of(whole.entries)), Checkpoint(ORIGIN, 20, bytes(32))]
    verdict = verify(whole.entries, both, read_content)
    assert str(verdict.finding) == "one of entries 0 to 19: not as in the checkpoint of 20 entries"
    assert verdict.checkpoints == 1


def test_an_event_that_is_there_twice_is_named() -> None:
    entries = numbered([entry(at, record(min(at, 7))) for at in range(9)])
    verdict = Log(entries, [9]).check()
    assert str(verdict.finding) == "entry 8: event 01890000-0000-7000-8000-000000000007 is in the log already"


def test_an_event_that_was_put_in_before_itself_is_not_blamed_on_the_second() -> None:
    # A copy of entry 40 in the place of 20 shows at 41, where the true one is by then; the tree says: earlier.
    whole = log(100, SIZES)
    forged = numbered([*whole.entries[:20], whole.entries[40], *whole.entries[20:99]])
    finding = whole.check(forged).finding
    assert finding is not None
    assert finding.start <= 20 < finding.end


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (Entry(4, b"", record(4)), "its leaf hash is not 32 bytes"),
        (Entry(4, leaf_hash(record(4)), b""), "its record is missing"),
        (entry(4, b"\xff\xff"), "its record is not an AuditRecord"),
        (entry(4, audit_pb2.AuditRecord(key_id="k").SerializeToString()), "its record has no event_id"),
    ],
)
def test_an_entry_that_is_bad_by_itself(bad: Entry, fault: str) -> None:
    entries = place(log(9, []).entries, 4, bad)
    kept = Log(entries, [9]) if bad.leaf_hash else log(9, [4, 9])
    assert str(kept.check(entries).finding) == f"entry 4: {fault}"


def removed(*ranges: tuple[int, int], archived: bool = False) -> audit_pb2.AuditAction:
    spans = [audit_pb2.EntryRange(start_index=start, end_index=end) for start, end in ranges]
    if archived:
        return audit_pb2.AuditAction(contents_archived=audit_pb2.ContentsArchived(ranges=spans))
    return audit_pb2.AuditAction(contents_expired=audit_pb2.ContentsRemoved(ranges=spans))


def emptied(*places: int, state: State = State.EXPIRED, actions: Sequence[audit_pb2.AuditAction] = ()) -> Log:
    """A log of 50 entries and then `actions`, some of whose contents are gone."""
    entries = log(50, []).entries
    entries += [entry(50 + at, record(50 + at, action=action)) for at, action in enumerate(actions)]
    for at in places:
        entries[at] = without_content(entries[at], state)
    return Log(entries, [len(entries)])


def test_contents_that_the_log_says_it_removed_may_be_gone() -> None:
    kept = emptied(*range(3, 9), 20, actions=[removed((3, 5), (20, 21)), removed((5, 9))])
    verdict = kept.check()
    assert verdict.ok
    assert verdict.removed == {State.EXPIRED: 7}


def test_archived_contents_may_be_gone() -> None:
    kept = emptied(*range(10), state=State.ARCHIVED, actions=[removed((0, 10), archived=True)])
    assert kept.check().ok
    assert kept.check().removed == {State.ARCHIVED: 10}


@pytest.mark.parametrize(
    ("kept", "first"),
    [
        (emptied(7), 7),
        (emptied(*range(3, 9), actions=[removed((3, 5), (6, 9))]), 5),
        (emptied(*range(3, 9), actions=[removed((4, 9))]), 3),
        (emptied(*range(3, 9), actions=[removed((0, 8))]), 8),
        (emptied(3, actions=[removed((0, 10), archived=True)]), 3),
        (emptied(3, state=State.ARCHIVED, actions=[removed((0, 10))]), 3),
        # An action can't speak of what comes after it, itself included.
        (emptied(40, actions=[removed((40, 52))]), 40),
    ],
)
def test_contents_that_are_gone_without_a_word_are_named(kept: Log, first: int) -> None:
    finding = kept.check().finding
    assert finding is not None
    assert (finding.start, finding.exact) == (first, True)
    assert "no action of the log says so" in finding.fault


Mutation = Callable[[list[Entry], random.Random], tuple[list[Entry], int]]


def edit(entries: list[Entry], chance: random.Random) -> tuple[list[Entry], int]:
    at = chance.randrange(len(entries))
    return place(entries, at, entry(at, record(at, "edited"))), at


def edit_record_alone(entries: list[Entry], chance: random.Random) -> tuple[list[Entry], int]:
    at = chance.randrange(len(entries))
    return place(entries, at, entries[at]._replace(record=record(at, "edited"))), at


def edit_leaf_alone(entries: list[Entry], chance: random.Random) -> tuple[list[Entry], int]:
    at = chance.randrange(len(entries))
    return place(entries, at, entries[at]._replace(leaf_hash=leaf_hash(b"edited"))), at


def delete(entries: list[Entry], chance: random.Random) -> tuple[list[Entry], int]:
    at = chance.randrange(len(entries))
    return numbered([*entries[:at], *entries[at + 1 :]]), at


def insert(entries: list[Entry], chance: random.Random) -> tuple[list[Entry], int]:
    at = chance.randrange(len(entries) + 1)
    return numbered([*entries[:at], entry(at, record(10_000)), *entries[at:]]), at


def reorder(entries: list[Entry], chance: random.Random) -> tuple[list[Entry], int]:
    one, other = sorted(chance.sample(range(len(entries)), 2))
    return numbered(place(place(entries, one, entries[other]), other, entries[one])), one


def truncate(entries: list[Entry], chance: random.Random) -> tuple[list[Entry], int]:
    at = chance.randrange(len(entries))
    return entries[:at], at


def fork(entries: list[Entry], chance: random.Random) -> tuple[list[Entry], int]:
    at = chance.randrange(len(entries))
    return [*entries[:at], *(entry(new, record(new, "forked")) for new in range(at, len(entries)))], at


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([edit, edit_record_alone, edit_leaf_alone, delete, insert, reorder, truncate, fork]),
    st.integers(2, 300),
    st.randoms(use_true_random=False),
)
def test_any_mutation_is_found_and_its_place_is_named(mutation: Mutation, size: int, chance: random.Random) -> None:
    sizes = sorted({size, *(chance.randint(1, size) for _ in range(chance.randint(0, 5)))})
    whole = log(size, sizes, witnessed=size)
    bad, first = mutation(whole.entries, chance)
    finding = whole.check(bad).finding
    assert finding is not None
    assert (finding.start, finding.end) == (first, first + 1)
    # Without the witness's leaf hashes it is found all the same, and is where the finding says.
    finding = whole.unwitnessed().check(bad).finding
    assert finding is not None
    assert finding.start <= first < finding.end


def a_file(entries: Sequence[Entry]) -> bytes:
    return b"".join(
        framed(
            audit_pb2.LogEntry(
                index=one.place, leaf_hash=one.leaf_hash, record=one.record, state=audit_pb2.ENTRY_STATE_PRESENT
            )
        )
        for one in entries
    )


class Dribble(io.BytesIO):
    """A file that gives a few bytes at a time, whatever is asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(7)


def test_a_file_of_entries_is_read_as_it_was_written() -> None:
    entries = [*log(300, []).entries, entry(300, b"long" * 1_000_000)]
    assert list(read_entries(io.BytesIO(a_file(entries)))) == entries
    assert list(read_entries(Dribble(a_file(entries[:20])))) == entries[:20]
    assert list(read_entries(io.BytesIO(b""))) == []


def test_a_cut_file_is_bad_where_it_is_cut() -> None:
    whole = log(30, [30])
    content = a_file(whole.entries)
    ends = [len(a_file(whole.entries[:size])) for size in range(31)]
    for cut in range(len(content)):
        verdict = verify(
            read_entries(io.BytesIO(content[:cut])), [Checkpoint(ORIGIN, 30, root_of(whole.entries))], read_content
        )
        assert verdict.finding is not None
        assert verdict.finding.end == sum(end <= cut for end in ends)


@pytest.mark.parametrize("junk", [b"\xff" * 12, b"\x02\xff\xff", bytes([0x81, 0x80, 0x80, 0x10])])
def test_junk_in_a_file_is_no_entry(junk: bytes) -> None:
    entries = read_entries(io.BytesIO(a_file(log(3, []).entries) + junk))
    assert [next(entries).place for _ in range(3)] == [0, 1, 2]
    with pytest.raises(EntriesBroken, match="no entry"):
        next(entries)
    assert LONGEST_ENTRY < 0x80 * 2**21


def test_archived_contents_are_verified_with_the_archives_objects() -> None:
    whole = log(50, []).entries
    away = emptied(*range(3, 20), 30, state=State.ARCHIVED, actions=[removed((3, 20), (30, 31), archived=True)])
    kept = Checkpoint(ORIGIN, 51, root_of(away.entries))

    def check(*objects: Sequence[Entry]) -> Verdict:
        files = [(f"{number}.log", io.BytesIO(a_file(one))) for number, one in enumerate(objects)]
        return verify(restored(iter(away.entries), files), [kept], read_content)

    assert check().removed == {State.ARCHIVED: 18}
    # One object may hold places that lie between those of another; one that the log still has is not looked at.
    verdict = check([*whole[3:9], whole[30]], whole[9:21])
    assert verdict.ok
    assert verdict.removed == {}
    assert check(whole[3:10]).removed == {State.ARCHIVED: 11}
    verdict = check([*whole[3:9], whole[9]._replace(record=record(9, "forged")), *whole[10:20]])
    assert str(verdict.finding) == "entry 9: its record does not have the hash that the log has for it"
    files = [("0.log", io.BytesIO(a_file(whole[3:20])[:-5]))]
    verdict = verify(
        restored(iter(away.entries), files), [kept], read_content, b"".join(one.leaf_hash for one in whole)
    )
    assert verdict.finding is not None
    assert "0.log: the file ends inside it" in str(verdict.finding)


def test_states_of_entries() -> None:
    for state, expected in (
        (audit_pb2.ENTRY_STATE_PRESENT, State.PRESENT),
        (audit_pb2.ENTRY_STATE_EXPIRED, State.EXPIRED),
        (audit_pb2.ENTRY_STATE_ARCHIVED, State.ARCHIVED),
        (audit_pb2.ENTRY_STATE_UNSPECIFIED, State.PRESENT),
    ):
        assert to_entry(audit_pb2.LogEntry(index=3, state=state)).state is expected


def test_a_record_without_an_event_is_invalid() -> None:
    with pytest.raises(RecordInvalid, match="no event_id"):
        read_content(b"")
