"""What every store of the audit log promises to those who answer for what it holds; on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from assay.audit.v1 import audit_pb2

from benchmarks.postgres_server import PostgresServer
from services.audit.actions import hold_message
from services.audit.adapters.custody import SqlCustody, empty_log
from services.audit.adapters.partitions import shrink
from services.audit.adapters.postgres import PostgresEventStore
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.adapters.store import SqlEventStore
from services.audit.custody import Erased, Held, Hold, Person, Span
from services.audit.events import EventQuery, State
from services.audit.merkle import tiles
from services.audit.merkle.entries import read_content
from services.audit.merkle.notes import Checkpoint
from services.audit.merkle.verification import Entry, Verdict, verify
from services.audit.merkle.verification import State as EntryState
from services.audit.months import Month
from services.kernel.identifiers import uuid7
from services.kernel.stores import Refused, Stored
from tests.contract.audit.conftest import Clock, Open
from tests.fixtures.audit import arrival, arrivals, audit_event, vault

DAY = 86_400 * 10**9
HOUR = 3600 * 10**9
MakeCustody = Callable[[SqlEventStore], SqlCustody]


async def intact() -> None:
    pass


def custody_of(store: SqlEventStore, tmp_path: Path) -> SqlCustody:
    if isinstance(store, PostgresEventStore):
        return SqlCustody(store, intact, shrink=shrink)
    return SqlCustody(store, intact, scrub=lambda: empty_log(tmp_path / "a.sqlite3"))


@pytest.fixture
async def custody(store: SqlEventStore, tmp_path: Path) -> SqlCustody:
    return custody_of(store, tmp_path)


async def verdict(store: SqlEventStore) -> Verdict:
    """What somebody finds who reads the whole log."""
    size, root = await store.tree(lambda size, read: (size, tiles.root(size, read)))
    entries = [
        Entry(entry.index, entry.leaf_hash, entry.record, EntryState[entry.state.name])
        for start in range(0, size, 1000)
        for entry in await store.entries(start, 1000, records=True)
    ]
    return verify(entries, [Checkpoint("t", size, root)], read_content)


async def states(store: SqlEventStore) -> list[State]:
    return [entry.state for entry in await store.entries(0, 1000, records=True)]


async def actions(store: SqlEventStore) -> list[audit_pb2.AuditEvent]:
    """What the log says was done to it, oldest first."""
    found = await store.page(EventQuery(outcome="action"), None, 1000)
    in_order = sorted(found, key=lambda logged: logged.index)
    return [audit_pb2.AuditEvent.FromString(logged.event) for logged in in_order]


async def put_daily(store: SqlEventStore, clock: Clock, days: int, a_day: int = 3) -> list[audit_pb2.AuditEvent]:
    """Puts some events on each day, up to today; created when they were put."""
    events = []
    for day in range(days):
        now = clock.now
        for number in range(a_day):
            event = audit_event(day * a_day + number)
            event.create_time.FromNanoseconds(now + number)
            events.append(event)
        await store.put(arrivals(events[-a_day:]))
        clock.now = now + DAY
    return events


async def test_expiry_removes_what_is_old_and_nothing_else(
    store: SqlEventStore, custody: SqlCustody, clock: Clock
) -> None:
    events = await put_daily(store, clock, 10)
    horizon = clock.now - 4 * DAY
    assert await custody.has_older(horizon)
    assert await custody.expire(horizon, 10, "ops") == 10
    assert await custody.expire(horizon, 10, "ops") == 8
    assert await custody.expire(horizon, 10, "ops") == 0
    await custody.tidy(horizon)
    assert not await custody.has_older(horizon)
    found = await states(store)
    assert found == [State.EXPIRED] * 18 + [State.PRESENT] * 12 + [State.PRESENT] * 2
    assert [await store.get(event.event_id) is None for event in events] == [True] * 18 + [False] * 12
    first, second = await actions(store)
    assert [(one.start_index, one.end_index) for one in first.action.contents_expired.ranges] == [(0, 10)]
    assert [(one.start_index, one.end_index) for one in second.action.contents_expired.ranges] == [(10, 18)]
    assert first.action.contents_expired.horizon.ToNanoseconds() == horizon
    assert (first.caller, first.method) == ("ops", "/assay.audit.v1.AuditAdminService/ExpireEvents")
    held = await verdict(store)
    assert held.ok
    assert held.removed == {EntryState.EXPIRED: 18}


async def test_what_expired_is_not_taken_again(store: SqlEventStore, custody: SqlCustody, clock: Clock) -> None:
    ahead = audit_event(900)  # from a gateway whose clock went ahead by a year
    ahead.create_time.FromNanoseconds(clock.now + 365 * DAY)
    await store.put([arrival(ahead)])
    events = await put_daily(store, clock, 3)
    assert await custody.expire(clock.now, 100, "ops") == 10
    await custody.tidy(clock.now)
    with pytest.raises(Refused, match="older than the retention"):
        await store.put([arrival(events[0])])
    assert await store.put([arrival(ahead)]) == [Stored.REPEAT]
    new = audit_event(901)
    new.create_time.FromNanoseconds(clock.now)
    assert await store.put([arrival(new)]) == [Stored.NEW]
    assert (await verdict(store)).ok


async def test_a_hold_keeps_what_it_covers_until_it_is_released(
    store: SqlEventStore, custody: SqlCustody, clock: Clock
) -> None:
    start = clock.now
    events = await put_daily(store, clock, 6, a_day=2)
    hold = Hold("acme", "ward-7", start + DAY, start + 3 * DAY, "case 12", uuid7(), clock.now)
    await custody.place(hold, "counsel")
    assert await custody.holds() == [hold]
    assert await custody.expire(clock.now, 100, "ops") == 10
    kept = [event for event in events if await store.get(event.event_id)]
    assert kept == [events[3], events[5]]  # of days 1 and 2, the caller's
    assert (await verdict(store)).ok
    assert await custody.release("none", "counsel") is None
    assert await custody.release(hold.hold_id, "counsel") == hold
    assert await custody.release(hold.hold_id, "counsel") is None
    assert await custody.holds() == []
    assert await custody.expire(clock.now, 100, "ops") == 2
    assert (await states(store))[:12] == [State.EXPIRED] * 12
    assert (await verdict(store)).ok
    placed, _, released, last = await actions(store)
    assert placed.action.hold_placed == released.action.hold_released == hold_message(hold)
    assert [(one.start_index, one.end_index) for one in last.action.contents_expired.ranges] == [(3, 4), (5, 6)]


async def test_a_hold_of_the_whole_tenant_covers_what_is_to_come(
    store: SqlEventStore, custody: SqlCustody, clock: Clock
) -> None:
    await custody.place(Hold("acme", hold_id=uuid7(), create_time=clock.now), "counsel")
    await put_daily(store, clock, 2)
    other = audit_event(99, tenant="zenith")
    other.create_time.FromNanoseconds(clock.now)
    await store.put([arrival(other)])
    clock.now += DAY
    assert await custody.expire(clock.now, 100, "ops") == 1
    assert await store.get(other.event_id) is None


async def test_erasure_leaves_nothing_personal_and_every_proof(
    store: SqlEventStore, custody: SqlCustody, clock: Clock, tmp_path: Path
) -> None:
    events = await put_daily(store, clock, 4)
    theirs = [event for event in events if event.caller == "ward-7"]
    erased = await custody.erase(Person("acme", "ward-7"), "ticket 5", "dpo")
    assert erased.events == len(theirs)
    for event in theirs:
        logged = await store.get(event.event_id)
        assert logged is not None
        left = audit_pb2.AuditEvent.FromString(logged.event)
        assert (left.caller, left.request_id, left.subject, left.HasField("input")) == ("", "", "", False)
        assert left.answer == event.answer
        assert await store.page(EventQuery(request_id=event.request_id), None, 10) == []
    assert await store.page(EventQuery(caller="ward-7"), None, 10) == []
    others = [event for event in events if event.caller != "ward-7"]
    for event in others:
        logged = await store.get(event.event_id)
        assert logged is not None
        assert audit_pb2.AuditEvent.FromString(logged.event) == event
    [said] = await actions(store)
    assert said.event_id == erased.event_id
    assert said.action.person_erased.events == len(theirs)
    assert (said.action.person_erased.tenant, said.action.person_erased.note) == ("acme", "ticket 5")
    assert "ward-7" not in str(said)
    held = await verdict(store)
    assert held.ok
    assert held.removed == {}
    assert await custody.erase(Person("acme", "ward-7"), "", "dpo") == Erased("", 0)
    # Whoever is erased may come back, as somebody new.
    again = audit_event(801)
    again.create_time.FromNanoseconds(clock.now)
    await store.put([arrival(again)])
    logged = await store.get(again.event_id)
    assert logged is not None
    assert audit_pb2.AuditEvent.FromString(logged.event).caller == "ward-7"


async def test_a_destroyed_key_is_in_no_byte_of_the_file(tmp_path: Path, clock: Clock) -> None:
    store = SqliteEventStore(tmp_path / "a.sqlite3", vault(), clock)
    custody = custody_of(store, tmp_path)
    await put_daily(store, clock, 2)
    read = "SELECT wrapped FROM person_keys WHERE person = ?"
    person = store.vault.person("acme", str(Person("acme", "ward-7")))
    [wrapped] = await store.database.read(lambda transaction: transaction.execute(read, (person,)).fetchone())

    def everything() -> bytes:
        return b"".join(file.read_bytes() for file in tmp_path.iterdir())

    assert wrapped in everything()
    await custody.erase(Person("acme", "ward-7"), "", "dpo")
    assert wrapped not in everything()
    assert b"ward-7" not in everything()
    await store.close()


async def test_a_subject_is_erased_apart_from_the_caller(
    store: SqlEventStore, custody: SqlCustody, clock: Clock
) -> None:
    about, own = audit_event(1, subject="[subject:1]"), audit_event(3)
    await store.put(arrivals([about, own]))
    assert (await custody.erase(Person("acme", subject="[subject:1]"), "", "dpo")).events == 1
    logged = await store.get(own.event_id)
    assert logged is not None
    assert audit_pb2.AuditEvent.FromString(logged.event) == own
    assert await custody.erase(Person("zenith", "ward-7"), "", "dpo") == Erased("", 0)
    assert (await custody.erase(Person("acme", "ward-7"), "", "dpo")).events == 1


async def test_a_hold_refuses_erasure(store: SqlEventStore, custody: SqlCustody, clock: Clock) -> None:
    await store.put(arrivals([audit_event(1), audit_event(2)]))
    hold = Hold("acme", "ward-7", hold_id=uuid7(), create_time=clock.now)
    await custody.place(hold, "counsel")
    with pytest.raises(Held, match=hold.hold_id):
        await custody.erase(Person("acme", "ward-7"), "", "dpo")
    assert (await custody.erase(Person("acme", "anonymous"), "", "dpo")).events == 1
    await custody.release(hold.hold_id, "counsel")
    assert (await custody.erase(Person("acme", "ward-7"), "", "dpo")).events == 1


async def test_moving_leaves_out_actions_and_what_is_on_hold(
    store: SqlEventStore, custody: SqlCustody, clock: Clock
) -> None:
    start = clock.now
    events = await put_daily(store, clock, 4)
    hold = Hold("acme", "", start + DAY, start + 2 * DAY, hold_id=uuid7(), create_time=clock.now)
    await custody.place(hold, "counsel")
    assert await custody.oldest() == start
    assert await custody.movable(start, clock.now, -1, 100) == [Span(0, 3), Span(6, 12)]
    assert await custody.movable(start, clock.now, -1, 4) == [Span(0, 3), Span(6, 7)]
    assert await custody.movable(start, clock.now, 6, 100) == [Span(7, 12)]
    assert await custody.movable(start, start + DAY, -1, 100) == [Span(0, 3)]
    assert await custody.move([Span(0, 3), Span(6, 12)], "m/1.log", b"\x07" * 32, "ops")
    assert not await custody.move([Span(0, 3)], "m/2.log", b"\x07" * 32, "ops")  # moved already
    assert not await custody.move([Span(3, 6)], "m/2.log", b"\x07" * 32, "ops")  # on hold
    await custody.tidy(clock.now)
    found = await states(store)
    assert found[:12] == [State.ARCHIVED] * 3 + [State.PRESENT] * 3 + [State.ARCHIVED] * 6
    _, said = await actions(store)
    assert (said.action.contents_archived.object, said.action.contents_archived.sha256) == ("m/1.log", b"\x07" * 32)
    # It is known still, and proven by its id.
    assert await store.put([arrival(events[0])]) == [Stored.REPEAT]
    assert await store.index_of(events[0].event_id) == 0
    held = await verdict(store)
    assert held.ok
    assert held.removed == {EntryState.ARCHIVED: 9}


async def test_keys_go_with_the_last_content_unless_the_archive_needs_them(
    store: SqlEventStore, custody: SqlCustody, clock: Clock
) -> None:
    async def keys() -> int:
        count = "SELECT COUNT(*) FROM person_keys"
        row = await store.database.read(lambda transaction: transaction.execute(count).fetchone())
        return int(row[0])

    await store.put(arrivals([audit_event(1), audit_event(2), audit_event(3)]))  # ward-7, anonymous, ward-7
    assert await keys() == 2
    await custody.move([Span(1, 2)], "m/1.log", b"\x07" * 32, "ops")
    clock.now += DAY
    assert await custody.expire(clock.now, 1, "ops") == 1
    assert await keys() == 2
    assert await custody.expire(clock.now, 100, "ops") == 1
    assert await keys() == 1
    # The archived one's key is destroyed by name; a hold that may cover it refuses that.
    hold = Hold("acme", hold_id=uuid7(), create_time=clock.now)
    await custody.place(hold, "counsel")
    with pytest.raises(Held):
        await custody.erase(Person("acme", "anonymous"), "", "dpo")
    await custody.release(hold.hold_id, "counsel")
    assert (await custody.erase(Person("acme", "anonymous"), "", "dpo")).event_id
    assert await keys() == 0


async def test_ids_of_what_was_archived_are_forgotten_once_the_horizon_has_passed(
    store: SqlEventStore, custody: SqlCustody, clock: Clock
) -> None:
    ahead = audit_event(900)
    ahead.create_time.FromNanoseconds(clock.now + 5 * DAY)
    await store.put([arrival(ahead)])
    events = await put_daily(store, clock, 3)
    assert await custody.move([Span(0, 10)], "m/1.log", b"\x07" * 32, "ops")
    late = audit_event(901)
    late.create_time.FromNanoseconds(clock.now)
    await store.put([arrival(late)])
    clock.now += DAY
    assert await custody.expire(clock.now, 10, "ops") == 1
    await custody.tidy(clock.now)
    assert await store.index_of(events[0].event_id) is None
    assert await store.index_of(ahead.event_id) == 0
    assert await store.put([arrival(ahead)]) == [Stored.REPEAT]
    with pytest.raises(Refused):
        await store.put([arrival(events[0])])


async def test_a_leap_of_the_clock_is_doubted_until_it_is_trusted_or_taken_back(
    custody: SqlCustody, clock: Clock
) -> None:
    now = clock.now
    assert await custody.see(now) == 0
    assert await custody.see(now + HOUR) == 0
    assert await custody.see(now + HOUR // 2) == 0  # a little back is nothing
    assert await custody.see(now + 365 * DAY) == 365 * DAY - HOUR
    assert await custody.see(now + 2 * HOUR) == 0  # put right
    assert await custody.see(now + 2 * DAY) == 2 * DAY - 2 * HOUR
    assert await custody.see(now + 4 * DAY) == 4 * DAY - 2 * HOUR
    await custody.trust(now + 5 * DAY)
    assert await custody.see(now + 5 * DAY + 1) == 0


async def test_the_time_before_the_first_look_counts_from_the_newest_entry(
    store: SqlEventStore, custody: SqlCustody, clock: Clock
) -> None:
    await store.put([arrival(audit_event(1))])
    assert await custody.see(clock.now + 100 * DAY) == 100 * DAY


async def test_nothing_is_appended_where_the_log_is_not_intact(store: SqlEventStore, clock: Clock) -> None:
    class Broken(Exception):
        pass

    async def broken() -> None:
        raise Broken

    custody = SqlCustody(store, broken)
    with pytest.raises(Broken):
        await custody.place(Hold("acme", hold_id=uuid7()), "counsel")
    assert await custody.holds() == []


async def test_expiry_and_appends_at_the_same_time_make_one_log(
    opened: Open, store: SqlEventStore, clock: Clock, tmp_path: Path
) -> None:
    events = await put_daily(store, clock, 20)
    horizon = clock.now
    clock.now += DAY
    other = opened()
    custody = custody_of(other, tmp_path)
    later = [audit_event(1000 + number) for number in range(60)]
    for event in later:
        event.create_time.FromNanoseconds(clock.now)

    async def append() -> None:
        for event in later:
            assert await store.put([arrival(event)]) == [Stored.NEW]

    async def expire() -> int:
        removed = 0
        while now := await custody.expire(horizon, 7, "ops"):
            removed += now
        return removed

    _, removed = await asyncio.gather(append(), expire())
    await custody.tidy(horizon)
    assert removed == len(events)
    assert all([await store.get(event.event_id) for event in later])
    assert (await verdict(store)).ok
    await other.close()


async def test_partitions_of_old_months_go_and_those_that_lost_contents_are_written_anew(
    shared_postgres: PostgresServer, clock: Clock
) -> None:
    store = PostgresEventStore(shared_postgres.make_database(), vault(), clock=clock)
    custody = SqlCustody(store, intact, shrink=shrink)
    clock.now = Month(2025, 6).start
    first = audit_event(1)
    first.create_time.FromNanoseconds(clock.now)
    await store.put([arrival(first)])
    clock.now = Month(2025, 7).start
    second, third = audit_event(2, caller="other"), audit_event(3)
    for event in (second, third):
        event.create_time.FromNanoseconds(clock.now)
    await store.put(arrivals([second, third]))
    clock.now = Month(2025, 9).start
    await custody.place(Hold("acme", "ward-7", Month(2025, 7).start, hold_id=uuid7(), create_time=clock.now), "c")
    assert await custody.expire(clock.now, 100, "ops") == 2
    file = "SELECT pg_relation_filenode('entries_2025_07')"
    before = await store.database.read(lambda transaction: transaction.execute(file).fetchone())
    await custody.tidy(clock.now)
    names = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = to_regclass('entries')"
    rows = await store.database.read(lambda transaction: transaction.execute(names).fetchall())
    assert sorted(row[0] for row in rows) == ["entries_2025_07", "entries_2025_09", "entries_2025_10"]
    assert await store.database.read(lambda transaction: transaction.execute(file).fetchone()) != before
    assert await store.get(third.event_id) is not None
    assert (await verdict(store)).ok
    await store.close()
