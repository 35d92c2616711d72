"""The audit service over a real PostgreSQL that is killed, stopped and full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import psycopg
import pytest
from assay.audit.v1 import audit_pb2

from benchmarks.postgres_server import PostgresServer
from services.audit.adapters.postgres import PostgresEventStore
from services.audit.events import EventQuery
from services.audit.merkle import tiles
from services.audit.merkle.hashing import leaf_hash
from services.kernel.errors import Reason
from services.kernel.eventlog.port import AUDIT_TOPIC
from services.kernel.eventlog.redis_streams import RedisPublisher
from services.kernel.identifiers import uuid7
from services.kernel.stores import Stored, StoreUnavailable
from tests.fixtures.audit import arrival, arrivals, audit_event, key_settings, vault
from tests.fixtures.services import error_of, running_service
from tests.fixtures.valkey import ValkeyServer
from tests.integration.audit.test_service import arrived, client, everything, publish_over_kills, wrapped


@pytest.fixture
async def store(postgres: PostgresServer) -> AsyncIterator[PostgresEventStore]:
    made = PostgresEventStore(postgres.url(), vault())
    yield made
    await made.close()


async def test_a_database_that_is_down_is_unavailable_and_is_found_again(
    postgres: PostgresServer, store: PostgresEventStore
) -> None:
    await store.put([arrival(audit_event(1))])
    postgres.kill()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.put([arrival(audit_event(2))])
        with pytest.raises(StoreUnavailable):
            await store.get("e000001")
        with pytest.raises(StoreUnavailable):
            await store.ping()
    postgres.start()
    await store.ping()
    assert await store.get("e000001") is not None
    assert await store.put(arrivals([audit_event(1), audit_event(2)])) == [Stored.REPEAT, Stored.NEW]


async def test_a_connection_that_broke_while_idle_costs_no_call(
    postgres: PostgresServer, store: PostgresEventStore
) -> None:
    await store.put([arrival(audit_event(1))])
    assert await store.get("e000001") is not None
    postgres.restart()
    assert await store.get("e000001") is not None
    assert await store.put([arrival(audit_event(2))]) == [Stored.NEW]


async def test_a_write_that_was_killed_before_its_commit_left_nothing(
    postgres: PostgresServer, store: PostgresEventStore
) -> None:
    await store.put([arrival(audit_event(1))])
    holder = psycopg.connect(postgres.url())  # holds the head, so that the next write waits in the middle
    holder.execute("SELECT * FROM head FOR UPDATE")
    waiting = asyncio.create_task(store.put([arrival(audit_event(2))]))
    async with asyncio.timeout(60):
        while not _waits_for_a_lock(postgres):
            await asyncio.sleep(0.02)
    postgres.kill()
    with pytest.raises(StoreUnavailable):
        await waiting
    holder.close()
    postgres.start()
    assert await store.index_of("e000002") is None
    assert await store.put([arrival(audit_event(2))]) == [Stored.NEW]
    assert [entry.index for entry in await store.entries(0, 10, records=True)] == [0, 1]


def _waits_for_a_lock(postgres: PostgresServer) -> bool:
    with psycopg.connect(postgres.url()) as connection:
        row = connection.execute("SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return bool(row and row[0])


async def test_a_database_without_room_is_unavailable_until_there_is_some(
    postgres: PostgresServer, store: PostgresEventStore
) -> None:
    large = [audit_event(number) for number in range(24)]
    for event in large:
        event.input.masked_text = "x" * 2**20  # sealed, so that nothing can make it smaller
    postgres.kill()
    postgres.start(16 * 2**20)  # as much as a file of the write-ahead log has, so that only tables want more

    async def append_all() -> list[Stored]:
        return [(await store.put([arrival(event)]))[0] for event in large]

    with pytest.raises(StoreUnavailable):
        await append_all()
    postgres.restart()
    held = await store.tree(lambda size, read: size)
    assert 0 < held < len(large)
    assert await append_all() == [Stored.REPEAT] * held + [Stored.NEW] * (len(large) - held)
    for index in range(len(large)):
        [entry] = await store.entries(index, 1, records=True)
        assert leaf_hash(entry.record) == entry.leaf_hash


async def test_what_the_server_or_the_role_weakens_is_strengthened(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("ALTER DATABASE postgres SET synchronous_commit = off")
    store = PostgresEventStore(postgres.url(), vault())
    shown = await store.database.write(lambda transaction: transaction.execute("SHOW synchronous_commit").fetchone())
    assert shown[0] == "on"
    await store.close()


async def test_entries_are_kept_by_month_and_the_next_months_table_is_there_before_it_is_needed(
    postgres: PostgresServer,
) -> None:
    now = 1_751_300_000 * 10**9  # 30 June 2025
    store = PostgresEventStore(postgres.url(), vault(), clock=lambda: now)
    await store.put([arrival(audit_event(1))])
    now += 3 * 24 * 3600 * 10**9
    await store.put([arrival(audit_event(2))])
    with psycopg.connect(postgres.url()) as connection:
        found = connection.execute(
            "SELECT tableoid::regclass::text, COUNT(*) FROM entries GROUP BY 1 ORDER BY 1"
        ).fetchall()
        tables = connection.execute("SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY 1").fetchall()
    assert found == [("entries_2025_06", 1), ("entries_2025_07", 1)]
    assert {"entries_2025_08"} <= {name for (name,) in tables}
    assert len(await store.page(EventQuery(), None, 10)) == 2
    await store.close()


async def test_two_services_that_start_at_the_same_time_make_one_schema(postgres: PostgresServer) -> None:
    stores = [PostgresEventStore(postgres.url(), vault()) for _ in range(4)]
    await asyncio.gather(*(store.ping() for store in stores))
    for store in stores:
        await store.close()


async def test_a_schema_that_is_newer_than_the_program_is_left_alone(
    postgres: PostgresServer, store: PostgresEventStore
) -> None:
    await store.ping()
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("UPDATE schema_versions SET version = version + 1")
    other = PostgresEventStore(postgres.url(), vault())
    with pytest.raises(StoreUnavailable):
        await other.ping()
    await other.close()


async def test_the_password_comes_from_its_file(postgres: PostgresServer, tmp_path: Path) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE auditor LOGIN PASSWORD 'hunter2'")
        connection.execute("CREATE DATABASE audit OWNER auditor")
    rules = postgres.folder / "pg_hba.conf"
    rules.write_text(f"local all auditor scram-sha-256\n{rules.read_text()}")
    postgres.restart()
    file = tmp_path / "password"
    url = postgres.url("audit").replace("postgres@", "auditor@")
    for content, works in (("wrong\n", False), ("hunter2\n", True)):
        file.write_text(content)
        store = PostgresEventStore(url, vault(), file)
        if works:
            await store.ping()
        else:
            with pytest.raises(StoreUnavailable):
                await store.ping()
        await store.close()


async def test_a_service_that_starts_without_its_database_waits_for_it(
    postgres: PostgresServer, valkey: ValkeyServer, publisher: RedisPublisher, tmp_path: Path
) -> None:
    postgres.kill()
    message = audit_event(1, event_id=uuid7())
    await publisher.publish(AUDIT_TOPIC, [wrapped(message)])
    settings = {f"ASSAY_{name.upper()}": file for name, file in key_settings(tmp_path / "keys").items()}
    settings["ASSAY_STORE"] = postgres.url()
    with running_service("audit", tmp_path, valkey.url, settings) as service:
        async with client(service.address) as audit:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await audit.GetEvent(audit_pb2.GetEventRequest(event_id=message.event_id))
            assert error_of(caught.value).reason is Reason.PART_UNAVAILABLE
            await asyncio.to_thread(postgres.start)
            assert await arrived(audit, message.event_id) == message


async def test_kill_9_of_service_and_database_mid_stream_loses_nothing_and_doubles_nothing(
    postgres: PostgresServer, valkey: ValkeyServer, publisher: RedisPublisher, tmp_path: Path
) -> None:
    sent = [audit_event(number, event_id=uuid7()) for number in range(2000)]
    settings = {f"ASSAY_{name.upper()}": file for name, file in key_settings(tmp_path / "keys").items()}
    settings |= {"ASSAY_STORE": postgres.url(), "ASSAY_CHECKPOINT_SECONDS": "0.05"}
    with running_service("audit", tmp_path, valkey.url, settings) as service:
        kills = [(postgres.restart, 400), (service.restart, 800), (postgres.restart, 1200)]
        await publish_over_kills(publisher, sent, kills)
        async with client(service.address) as audit:
            await arrived(audit, sent[-1].event_id)
            async with asyncio.timeout(60):
                while len(stored := await everything(audit, audit_pb2.ListEventsRequest(page_size=1000))) < len(sent):
                    await asyncio.sleep(0.05)
            assert stored == sent[::-1]
            entries: list[audit_pb2.LogEntry] = []
            while page := (await audit.ListEntries(audit_pb2.ListEntriesRequest(start_index=len(entries)))).entries:
                entries += page
        assert await asyncio.to_thread(service.terminate) == 0
    assert len(entries) == len(sent)
    leaves = [leaf_hash(entry.record) for entry in entries]
    changed = tiles.append(0, leaves, lambda level, number: b"")
    store = PostgresEventStore(postgres.url(), vault())
    root = await store.tree(lambda size, read: tiles.root(size, read))
    assert root == tiles.root(len(leaves), lambda level, number: changed.get((level, number), b""))
    await store.close()
