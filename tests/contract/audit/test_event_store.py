"""What every store of the audit log promises, run on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from assay.audit.v1 import audit_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.audit.adapters.store import SqlEventStore
from services.audit.events import EventQuery, LoggedEvent, State
from services.audit.merkle import tiles
from services.audit.merkle.hashing import leaf_hash
from services.audit.merkle.proofs import verify_inclusion
from services.audit.merkle.tiles import ReadTile
from services.audit.ports import EntryDamaged, TreeBroken
from services.kernel.sql import Transaction
from services.kernel.stores import Refused, Stored
from tests.contract.audit.conftest import Clock, Open
from tests.fixtures.audit import arrival, arrivals, audit_event, varied, vault

Matches = Callable[[audit_pb2.AuditEvent], bool]


def read(logged: LoggedEvent) -> audit_pb2.AuditEvent:
    return audit_pb2.AuditEvent.FromString(logged.event)


def newest_first(events: list[audit_pb2.AuditEvent]) -> list[audit_pb2.AuditEvent]:
    return sorted(events, key=lambda event: (event.create_time.ToNanoseconds(), event.event_id), reverse=True)


async def size_and_root(store: SqlEventStore) -> tuple[int, bytes]:
    return await store.tree(lambda size, read: (size, tiles.root(size, read)))


async def test_event_comes_back_as_it_was(store: SqlEventStore) -> None:
    event = audit_event(1, subject="[subject:1]")
    assert await store.get(event.event_id) is None
    assert await store.index_of(event.event_id) is None
    assert await store.put([arrival(event)]) == [Stored.NEW]
    logged = await store.get(event.event_id)
    assert logged is not None
    assert (logged.index, logged.event_id, logged.create_time) == (0, "e000001", 1_001 * 10**9)
    assert read(logged) == event
    assert await store.index_of(event.event_id) == 0
    assert await store.get("") is None


async def test_empty_put_is_nothing(store: SqlEventStore) -> None:
    assert await store.put([]) == []
    assert (await size_and_root(store))[0] == 0
    assert await store.entries(0, 10, records=True) == []


async def test_repeat_changes_nothing_and_conflict_neither(store: SqlEventStore) -> None:
    first, second = arrivals([audit_event(0), audit_event(1)])
    other = replace(arrival(audit_event(0, caller="else")), event_id=first.event_id)
    assert await store.put([first, first]) == [Stored.NEW, Stored.REPEAT]
    assert await store.put([first, second, other]) == [Stored.REPEAT, Stored.NEW, Stored.CONFLICT]
    logged = await store.get(first.event_id)
    assert logged is not None
    assert read(logged) == audit_event(0)
    assert len(await store.page(EventQuery(), None, 10)) == 2
    assert (await size_and_root(store))[0] == 2


async def test_each_entry_is_a_leaf_of_the_bytes_that_are_stored(store: SqlEventStore) -> None:
    events = [audit_event(number) for number in range(700)]  # more than two tiles
    for start in range(0, len(events), 150):
        await store.put(arrivals(events[start : start + 150]))
    size, root = await size_and_root(store)
    entries = [*await store.entries(0, 400, records=True), *await store.entries(400, 400, records=True)]
    assert size == len(entries) == len(events)
    for event, entry in zip(events, entries, strict=True):
        assert entry.index == event.create_time.seconds - 1_000
        assert entry.state is State.PRESENT
        assert entry.leaf_hash == leaf_hash(entry.record)
        assert audit_pb2.AuditRecord.FromString(entry.record).event.event_id == event.event_id
    for index in (0, 255, 256, 699):
        path = await store.tree(lambda size, read, index=index: tiles.inclusion_path(index, size, read))  # type: ignore[misc]
        assert verify_inclusion(entries[index].leaf_hash, index, size, path, root)
    [alone] = await store.entries(650, 1, records=False)
    assert (alone.index, alone.record, alone.leaf_hash) == (650, b"", entries[650].leaf_hash)
    assert await store.entries(700, 10, records=True) == []


async def test_what_is_personal_is_sealed_in_the_record(store: SqlEventStore) -> None:
    event = audit_event(1, subject="[subject:1]")
    await store.put([arrival(event)])
    [entry] = await store.entries(0, 1, records=True)
    record = audit_pb2.AuditRecord.FromString(entry.record)
    for word in (event.caller, event.request_id, event.subject, event.input.masked_text):
        assert word.encode() not in entry.record
    assert not record.event.HasField("input")
    assert record.event.answer == event.answer
    assert record.key_id
    assert record.append_time.ToNanoseconds() == store.clock()


async def test_events_of_one_person_share_a_key_and_no_others_do(store: SqlEventStore) -> None:
    people = [("acme", "a", ""), ("acme", "a", ""), ("acme", "b", ""), ("zenith", "a", ""), ("acme", "b", "s")]
    people += [("acme", "c", "s"), ("acme", "s", "")]  # the same subject of another caller; a caller named as a subject
    for number, (tenant, caller, subject) in enumerate(people):
        await store.put([arrival(audit_event(number, tenant=tenant, caller=caller, subject=subject))])
    keys = [audit_pb2.AuditRecord.FromString(entry.record).key_id for entry in await store.entries(0, 10, records=True)]
    assert keys[0] == keys[1]
    assert keys[4] == keys[5]
    assert len(set(keys)) == 5


async def test_without_the_persons_key_only_the_rest_is_read(store: SqlEventStore) -> None:
    event = audit_event(1)
    await store.put([arrival(event)])
    before = await size_and_root(store)
    await store.database.write(lambda transaction: transaction.execute("DELETE FROM person_keys"))
    logged = await store.get(event.event_id)
    assert logged is not None
    rest = audit_pb2.AuditEvent()
    rest.CopyFrom(event)
    for name in ("caller", "request_id", "subject", "input"):
        rest.ClearField(name)  # type: ignore[arg-type]
    assert read(logged) == rest
    assert await size_and_root(store) == before
    # The same person comes again and is somebody else to the log.
    await store.put([arrival(audit_event(3))])
    logged = await store.get("e000003")
    assert logged is not None
    assert read(logged) == audit_event(3)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        (EventQuery(), lambda event: True),
        (EventQuery(caller="a"), lambda event: event.caller == "a"),
        (EventQuery(tenant="zenith"), lambda event: event.tenant == "zenith"),
        (EventQuery(subject="[subject:2]"), lambda event: event.subject == "[subject:2]"),
        (EventQuery(request_id="r3"), lambda event: event.request_id == "r3"),
        (EventQuery(model="banking"), lambda event: event.model == "banking"),
        (EventQuery(label="fever"), lambda event: event.answer.label == "fever"),
        (EventQuery(outcome="error"), lambda event: event.HasField("error")),
        (EventQuery(outcome="answer"), lambda event: event.HasField("answer")),
        (EventQuery(outcome="action"), lambda event: False),
        (EventQuery(outcome="error", reason="TEXT_BLANK"), lambda event: event.error.reason == 1),
        (
            EventQuery(min_confidence=0.25, max_confidence=0.75),
            lambda event: event.HasField("answer") and 0.25 <= event.answer.confidence < 0.75,
        ),
        (
            EventQuery(start=10 * 10**9 + 1, end=40 * 10**9 + 1),
            lambda event: 10 <= event.create_time.seconds < 40,
        ),
        (
            EventQuery(caller="b", model="intent", tenant="acme", start=5, end=60 * 10**9),
            lambda event: (
                (event.caller, event.model, event.tenant) == ("b", "intent", "acme") and event.create_time.seconds < 60
            ),
        ),
        (EventQuery(caller="nobody"), lambda event: False),
        (EventQuery(start=-(2**63), end=2**63 - 1), lambda event: True),
    ],
)
async def test_pages_are_newest_first_and_complete(store: SqlEventStore, query: EventQuery, matches: Matches) -> None:
    held = varied(120)
    await store.put(arrivals(held))
    got: list[LoggedEvent] = []
    while page := await store.page(query, (got[-1].create_time, got[-1].event_id) if got else None, 7):
        assert len(page) <= 7
        got += page
    assert [read(logged) for logged in got] == [event for event in newest_first(held) if matches(event)]


async def test_page_goes_on_where_it_was_although_newer_events_come(store: SqlEventStore) -> None:
    old = varied(10)
    await store.put(arrivals(old))
    first = await store.page(EventQuery(), None, 4)
    await store.put(arrivals([audit_event(100 + n, create_time=Timestamp(seconds=10**9)) for n in range(10)]))
    rest = await store.page(EventQuery(), (first[-1].create_time, first[-1].event_id), 100)
    assert [read(logged) for logged in [*first, *rest]] == newest_first(old)


async def test_values_that_a_database_may_not_hold_are_found_again(store: SqlEventStore) -> None:
    event = audit_event(1, caller="a\0b", request_id="汉字 \U0001f600")
    await store.put([arrival(event)])
    [logged] = await store.page(EventQuery(caller="a\ufffdb"), None, 10)
    assert read(logged) == event
    assert len(await store.page(EventQuery(request_id="汉字 \U0001f600"), None, 10)) == 1


async def test_one_that_can_not_be_stored_refuses_all_and_stores_none(store: SqlEventStore) -> None:
    good = arrival(audit_event(1))
    with pytest.raises(Refused):
        await store.put([good, replace(arrival(audit_event(2)), caller="\ud800")])
    assert await store.get(good.event_id) is None
    assert (await size_and_root(store))[0] == 0
    assert await store.put([good]) == [Stored.NEW]


async def test_what_is_behind_the_horizon_and_unknown_is_refused(store: SqlEventStore) -> None:
    known, late = arrivals([audit_event(1), audit_event(2)])
    await store.put([known])

    def move(transaction: Transaction) -> None:
        transaction.execute("UPDATE head SET horizon = ?", (1_003 * 10**9,))

    await store.database.write(move)
    assert await store.put([known]) == [Stored.REPEAT]
    with pytest.raises(Refused, match="older than the retention"):
        await store.put([late])
    assert await store.put([arrival(audit_event(3))]) == [Stored.NEW]


async def test_time_of_appending_never_goes_back(store: SqlEventStore, clock: Clock) -> None:
    month = 31 * 24 * 3600 * 10**9
    start = clock.now
    times = [start, start + 14 * month, start - month, start + 14 * month + 5]  # a clock that jumps
    for number, time in enumerate(times):
        clock.now = time
        await store.put([arrival(audit_event(number))])
    found = [
        audit_pb2.AuditRecord.FromString(entry.record).append_time.ToNanoseconds()
        for entry in await store.entries(0, 10, records=True)
    ]
    assert found == [times[0], times[1], times[1], times[3]]
    assert len(await store.page(EventQuery(), None, 10)) == 4
    for number in range(4):
        assert await store.get(f"e{number:06}") is not None


async def test_instances_that_append_at_the_same_time_make_one_log(opened: Open) -> None:
    stores = [opened() for _ in range(3)]
    events = [audit_event(number) for number in range(180)]

    async def append(store: SqlEventStore, offset: int) -> list[Stored]:
        ends: list[Stored] = []
        for start in range(0, len(events), 10):  # each begins elsewhere, all bring everything
            at = (start + offset) % len(events)
            ends += await store.put(arrivals(events[at : at + 10]))
        return ends

    ends = await asyncio.gather(*(append(store, 60 * number) for number, store in enumerate(stores)))
    assert sum(end is Stored.NEW for each in ends for end in each) == len(events)
    assert all(end is not Stored.CONFLICT for each in ends for end in each)
    entries = await stores[0].entries(0, 1000, records=True)
    ids = [audit_pb2.AuditRecord.FromString(entry.record).event.event_id for entry in entries]
    assert sorted(ids) == [event.event_id for event in events]
    assert len({await size_and_root(store) for store in stores}) == 1
    for store in stores:
        await store.close()


async def test_what_is_kept_survives_a_restart(opened: Open) -> None:
    store = opened()
    held = varied(3)
    await store.put(arrivals(held))
    await store.save_checkpoint(3, "note")
    before = await size_and_root(store)
    await store.close()
    store = opened()
    assert [read(logged) for logged in await store.page(EventQuery(), None, 10)] == newest_first(held)
    assert await size_and_root(store) == before
    assert await store.newest_checkpoint() == "note"
    await store.ping()
    await store.close()
    await store.close()


async def test_checkpoints_are_kept_once_and_the_largest_is_the_newest(store: SqlEventStore) -> None:
    assert await store.newest_checkpoint() is None
    await store.save_checkpoint(5, "five")
    await store.save_checkpoint(7, "seven")
    await store.save_checkpoint(6, "six")
    await store.save_checkpoint(7, "another seven")
    assert await store.newest_checkpoint() == "seven"


async def test_few_checkpoints_stay(store: SqlEventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.audit.adapters.store._CHECKPOINTS_KEPT", 3)
    for size in range(1, 8):
        await store.save_checkpoint(size, str(size))

    def kept(transaction: Transaction) -> list[int]:
        return [row[0] for row in transaction.execute("SELECT size FROM checkpoints ORDER BY size")]

    assert await store.database.read(kept) == [5, 6, 7]


async def test_removed_contents_leave_their_leaf_hash_and_say_where_they_went(store: SqlEventStore) -> None:
    await store.put(arrivals([audit_event(number) for number in range(6)]))
    before = await store.entries(0, 10, records=True)

    def remove(transaction: Transaction) -> None:
        transaction.execute("DELETE FROM entries WHERE idx < 4")
        transaction.execute("DELETE FROM event_ids WHERE idx < 4")
        transaction.execute("INSERT INTO removed VALUES (0, 2, ?)", (int(State.ARCHIVED),))
        transaction.execute("INSERT INTO removed VALUES (2, 4, ?)", (int(State.EXPIRED),))

    await store.database.write(remove)
    after = await store.entries(0, 10, records=True)
    assert [entry.leaf_hash for entry in after] == [entry.leaf_hash for entry in before]
    assert [entry.state for entry in after] == [State.ARCHIVED] * 2 + [State.EXPIRED] * 2 + [State.PRESENT] * 2
    assert [bool(entry.record) for entry in after] == [False] * 4 + [True] * 2
    assert [entry.index for entry in await store.entries(1, 2, records=True)] == [1, 2]
    assert await store.get("e000001") is None
    assert len(await store.page(EventQuery(), None, 10)) == 2


async def test_a_changed_record_is_not_given_out_as_if_it_were_well(store: SqlEventStore) -> None:
    await store.put(arrivals([audit_event(1), audit_event(2)]))

    def spoil(transaction: Transaction) -> None:
        [(record,)] = transaction.execute("SELECT record FROM entries WHERE idx = 1").fetchall()
        spoiled = audit_pb2.AuditRecord.FromString(bytes(record))
        spoiled.sealed = spoiled.sealed[:-1] + bytes([spoiled.sealed[-1] ^ 1])
        transaction.execute("UPDATE entries SET record = ? WHERE idx = 1", (spoiled.SerializeToString(),))

    await store.database.write(spoil)
    with pytest.raises(EntryDamaged) as caught:
        await store.get("e000002")
    assert caught.value.index == 1
    assert await store.get("e000001") is not None


async def test_an_id_that_was_led_to_another_entry_gives_none(store: SqlEventStore) -> None:
    await store.put(arrivals([audit_event(1), audit_event(2)]))
    await store.database.write(
        lambda transaction: transaction.execute("UPDATE event_ids SET idx = 0 WHERE event_id = 'e000002'")
    )
    with pytest.raises(EntryDamaged):
        await store.get("e000002")
    assert await store.get("e000001") is not None


async def test_a_tree_that_does_not_fit_its_size_is_not_continued(store: SqlEventStore) -> None:
    await store.put(arrivals([audit_event(1), audit_event(2)]))

    def cut(transaction: Transaction) -> None:
        transaction.execute("UPDATE tiles SET hashes = ? WHERE level = 0 AND number = 0", (bytes(32),))

    await store.database.write(cut)
    with pytest.raises(TreeBroken) as caught:
        await store.put([arrival(audit_event(3))])
    assert "tile 0 of level 0" in caught.value.fault
    assert await store.index_of("e000003") is None


async def test_with_another_key_file_nothing_is_appended(store: SqlEventStore) -> None:
    await store.put([arrival(audit_event(1))])
    right, store.vault = store.vault, vault(1)
    with pytest.raises(TreeBroken) as caught:
        await store.put([arrival(audit_event(2))])
    assert "the key file is not the one" in caught.value.fault
    store.vault = right
    assert await store.put([arrival(audit_event(2))]) == [Stored.NEW]


async def test_a_changed_key_of_a_person_stops_nothing(store: SqlEventStore) -> None:
    await store.put([arrival(audit_event(1))])
    await store.database.write(lambda transaction: transaction.execute("UPDATE person_keys SET wrapped = ?", (b"x",)))
    with pytest.raises(EntryDamaged):
        await store.get("e000001")
    assert await store.put(arrivals([audit_event(3), audit_event(5)])) == [Stored.NEW, Stored.NEW]
    with pytest.raises(EntryDamaged):
        await store.get("e000001")
    for number in (3, 5):
        logged = await store.get(f"e{number:06}")
        assert logged is not None
        assert read(logged) == audit_event(number)


async def test_work_on_the_tree_sees_one_state(opened: Open) -> None:
    reader, writer = opened(), opened()
    await writer.put([arrival(audit_event(1))])
    loop = asyncio.get_running_loop()

    def twice(size: int, read: ReadTile) -> tuple[int, bytes, bytes]:
        first = read(0, 0)
        asyncio.run_coroutine_threadsafe(writer.put([arrival(audit_event(2))]), loop).result(60)
        return size, first, read(0, 0)

    size, before, after = await reader.tree(twice)
    assert (size, len(before), after) == (1, 32, before)
    assert (await size_and_root(reader))[0] == 2
    await reader.close()
    await writer.close()
