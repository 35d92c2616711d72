"""The audit service's own wiring, over a real Valkey and a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import redis.asyncio
from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from services.audit.merkle.hashing import leaf_hash
from services.audit.merkle.notes import Checkpoint, Verifier, open_note, split_notes
from services.audit.merkle.proofs import verify_consistency, verify_inclusion
from services.audit.settings import Settings
from services.audit.wiring import build
from services.kernel.errors import AssayError, Reason
from services.kernel.eventlog.port import AUDIT_TOPIC, Event, Publisher
from services.kernel.eventlog.redis_streams import RedisPublisher
from services.kernel.eventlog.topics import CHECKPOINT_TOPIC
from services.kernel.hosting import aio
from services.kernel.identifiers import uuid7
from tests.fixtures import audit as fixtures
from tests.fixtures.publishing import publish_surely
from tests.fixtures.services import error_of, running_service
from tests.fixtures.valkey import ValkeyServer


def audit_event(number: int) -> audit_pb2.AuditEvent:
    return fixtures.audit_event(number, event_id=uuid7())


def wrapped(message: audit_pb2.AuditEvent) -> Event:
    return Event(message.event_id, message.SerializeToString())


@asynccontextmanager
async def client(address: str) -> AsyncIterator[audit_pb2_grpc.AuditServiceAsyncStub]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield audit_pb2_grpc.AuditServiceStub(channel)


@pytest.fixture
async def address(valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[str]:
    keys = {name: Path(file) for name, file in fixtures.key_settings(tmp_path / "keys").items()}
    settings = Settings(event_log=valkey.url, data=tmp_path / "audit", checkpoint_seconds=0.05, **keys)
    async with aio.serve(build(settings)) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def audit(address: str) -> AsyncIterator[audit_pb2_grpc.AuditServiceAsyncStub]:
    async with client(address) as stub:
        yield stub


def service_keys(folder: Path) -> dict[str, str]:
    """The settings of a service's process that name its keys."""
    return {f"ASSAY_{name.upper()}": file for name, file in fixtures.key_settings(folder / "keys").items()}


async def arrived(stub: audit_pb2_grpc.AuditServiceAsyncStub, event_id: str) -> audit_pb2.AuditEvent:
    """Asks until the event is there."""
    async with asyncio.timeout(60):
        while True:
            try:
                return (await stub.GetEvent(audit_pb2.GetEventRequest(event_id=event_id))).event
            except grpc.aio.AioRpcError as failure:
                if failure.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
                    raise
            await asyncio.sleep(0.02)


async def publish_over_kills(
    publisher: Publisher, sent: Sequence[audit_pb2.AuditEvent], kills: Sequence[tuple[Callable[[], None], int]]
) -> None:
    """Publishes all, some twice; meanwhile calls each of `kills`, on another thread, when so many are published."""
    published = 0

    async def publish() -> None:
        nonlocal published
        for start in range(0, len(sent), 10):
            batch = [wrapped(message) for message in sent[start : start + 10]]
            await publish_surely(publisher, AUDIT_TOPIC, batch)
            if start % 70 == 0:  # as a relay does that died before it noted the confirmation
                await publish_surely(publisher, AUDIT_TOPIC, batch[5:])
            published += len(batch)
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(publish())
        for kill, reached in kills:
            while published < reached and not publishing.done():  # the count is waited for
                await asyncio.sleep(0.002)
            await asyncio.to_thread(kill)


async def everything(
    stub: audit_pb2_grpc.AuditServiceAsyncStub, request: audit_pb2.ListEventsRequest
) -> list[audit_pb2.AuditEvent]:
    """Walks through all pages."""
    events: list[audit_pb2.AuditEvent] = []
    while True:
        page = await stub.ListEvents(request)
        events += page.events
        if not page.next_page_token:
            return events
        request.page_token = page.next_page_token


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, AssayError]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_of(caught.value)


async def test_published_events_are_found(
    publisher: RedisPublisher, audit: audit_pb2_grpc.AuditServiceAsyncStub
) -> None:
    sent = [audit_event(number) for number in range(30)]
    await publisher.publish(AUDIT_TOPIC, [wrapped(message) for message in sent])
    assert await arrived(audit, sent[-1].event_id) == sent[-1]
    newest_first = sent[::-1]

    def request(**filters: object) -> audit_pb2.ListEventsRequest:
        return audit_pb2.ListEventsRequest(page_size=4, **filters)  # type: ignore[arg-type]

    assert await everything(audit, request()) == newest_first
    assert await everything(audit, request(caller="ward-7")) == [m for m in newest_first if m.caller == "ward-7"]
    assert await everything(audit, request(model="triage")) == [m for m in newest_first if m.model == "triage"]
    assert await everything(audit, request(request_id="r7")) == [sent[7]]
    times = {"start_time": Timestamp(seconds=1_005), "end_time": Timestamp(seconds=1_020)}
    assert await everything(audit, request(**times)) == sent[5:20][::-1]
    assert await everything(audit, request(caller="nobody")) == []
    assert await everything(audit, request(tenant="acme", label="card_lost", outcome="answer")) == newest_first
    assert await everything(audit, request(min_confidence=0.8)) == []
    assert len((await audit.ListEvents(audit_pb2.ListEventsRequest())).events) == 30


async def test_repeats_are_stored_once_and_poison_does_not_block(
    publisher: RedisPublisher, audit: audit_pb2_grpc.AuditServiceAsyncStub
) -> None:
    sent = [audit_event(number) for number in range(5)]
    events = [wrapped(message) for message in sent]
    await publisher.publish(AUDIT_TOPIC, [*events, Event(uuid7(), b"\xff poison"), *events])
    await publisher.publish(AUDIT_TOPIC, events)
    last = audit_event(9)
    await publisher.publish(AUDIT_TOPIC, [wrapped(last)])
    await arrived(audit, last.event_id)
    assert await everything(audit, audit_pb2.ListEventsRequest()) == [last, *sent[::-1]]
    labels = {"topic": AUDIT_TOPIC, "outcome": "dead_lettered"}
    assert REGISTRY.get_sample_value("assay_consumer_events_total", labels) == 1


async def test_bad_requests_are_refused_with_their_reason(audit: audit_pb2_grpc.AuditServiceAsyncStub) -> None:
    code, error = await refused(audit.GetEvent(audit_pb2.GetEventRequest()))
    assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.FIELD_INVALID)
    assert error.metadata["field"] == "event_id"
    code, error = await refused(audit.GetEvent(audit_pb2.GetEventRequest(event_id="x\n" * 1000)))
    assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, Reason.EVENT_UNKNOWN)
    assert error.metadata["value"].isprintable()
    assert len(error.metadata["value"]) <= 64
    for request, field in (
        (audit_pb2.ListEventsRequest(page_size=-1), "page_size"),
        (audit_pb2.ListEventsRequest(start_time=Timestamp(seconds=2), end_time=Timestamp(seconds=1)), "end_time"),
        (audit_pb2.ListEventsRequest(start_time=Timestamp(nanos=-1)), "start_time"),
        (audit_pb2.ListEventsRequest(outcome="good"), "outcome"),
        (audit_pb2.ListEventsRequest(min_confidence=2), "min_confidence"),
    ):
        code, error = await refused(audit.ListEvents(request))
        assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.FIELD_INVALID)
        assert error.metadata["field"] == field
    code, error = await refused(audit.ListEvents(audit_pb2.ListEventsRequest(page_token="made up")))
    assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.PAGE_TOKEN_INVALID)


async def test_health_names_the_log_and_the_store_and_reading_goes_on_without_the_log(
    valkey: ValkeyServer, publisher: RedisPublisher, address: str, audit: audit_pb2_grpc.AuditServiceAsyncStub
) -> None:
    message = audit_event(1)
    await publisher.publish(AUDIT_TOPIC, [wrapped(message)])
    await arrived(audit, message.event_id)
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def until(name: str, status: int) -> None:
            async with asyncio.timeout(30):
                async for answer in health.Watch(health_pb2.HealthCheckRequest(service=name)):
                    if answer.status == status:
                        return

        for name in ("", "assay.audit.v1.AuditService", "store", "eventlog"):
            await until(name, health_pb2.HealthCheckResponse.SERVING)
        valkey.kill()
        await until("eventlog", health_pb2.HealthCheckResponse.NOT_SERVING)
        await until("", health_pb2.HealthCheckResponse.SERVING)
        assert await arrived(audit, message.event_id) == message
        valkey.start()
        await until("eventlog", health_pb2.HealthCheckResponse.SERVING)
    later = audit_event(2)
    await publish_surely(publisher, AUDIT_TOPIC, [wrapped(later)])
    await arrived(audit, later.event_id)


async def proved(stub: audit_pb2_grpc.AuditServiceAsyncStub, event_id: str) -> audit_pb2.GetInclusionProofResponse:
    """Asks until a checkpoint covers the event."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await stub.GetInclusionProof(audit_pb2.GetInclusionProofRequest(event_id=event_id))
            except grpc.aio.AioRpcError as failure:
                if error_of(failure).reason is not Reason.PROOF_PENDING:
                    raise
            await asyncio.sleep(0.02)


async def test_the_log_proves_itself_to_who_has_its_public_key(
    valkey: ValkeyServer, publisher: RedisPublisher, audit: audit_pb2_grpc.AuditServiceAsyncStub, tmp_path: Path
) -> None:
    sent = [audit_event(number) for number in range(40)]
    older: Checkpoint | None = None
    for start in (0, 20):
        await publisher.publish(AUDIT_TOPIC, [wrapped(message) for message in sent[start : start + 20]])
        await arrived(audit, sent[start + 19].event_id)
        proof = await proved(audit, sent[start + 19].event_id)
        told = await audit.GetCheckpoint(audit_pb2.GetCheckpointRequest())
        verifiers = [Verifier.parse(told.public_key)]
        signed = open_note(proof.checkpoint, verifiers)
        assert (signed.size, proof.index) == (proof.tree_size, start + 19)
        assert verify_inclusion(proof.leaf_hash, proof.index, signed.size, proof.path, signed.root)
        if older is not None:
            request = audit_pb2.GetConsistencyProofRequest(first_size=older.size)
            consistency = await audit.GetConsistencyProof(request)
            newest = open_note(consistency.checkpoint, verifiers)
            assert consistency.second_size == newest.size
            assert verify_consistency(older.size, newest.size, consistency.path, older.root, newest.root)
        older = signed
    entries = (await audit.ListEntries(audit_pb2.ListEntriesRequest())).entries
    assert [entry.index for entry in entries] == list(range(40))
    assert all(leaf_hash(entry.record) == entry.leaf_hash for entry in entries)
    hashes = await audit.ListEntries(audit_pb2.ListEntriesRequest(start_index=30, page_size=5, hashes_only=True))
    assert [entry.leaf_hash for entry in hashes.entries] == [entry.leaf_hash for entry in entries[30:35]]
    assert not any(entry.record for entry in hashes.entries)
    # The same checkpoints are outside the database: in the file, and on their topic.
    notes = list(split_notes((tmp_path / "audit" / "checkpoints.log").read_text()))
    assert told.checkpoint in notes
    async with redis.asyncio.from_url(valkey.url) as client:
        async with asyncio.timeout(60):
            while True:
                published = [fields[b"payload"].decode() for _, fields in await client.xrange(CHECKPOINT_TOPIC)]
                if told.checkpoint in published:
                    break
                await asyncio.sleep(0.02)
    assert set(published) <= set(notes)


async def test_proofs_that_can_not_be_given_say_why(audit: audit_pb2_grpc.AuditServiceAsyncStub) -> None:
    async with asyncio.timeout(60):
        while True:  # until the first checkpoint, of the empty log
            code, error = await refused(audit.GetConsistencyProof(audit_pb2.GetConsistencyProofRequest(second_size=9)))
            if error.reason is not Reason.PROOF_PENDING:
                break
    assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.FIELD_INVALID)
    assert (error.metadata["field"], error.metadata["value"]) == ("second_size", "9")
    for call, field in (
        (audit.ListEntries(audit_pb2.ListEntriesRequest(start_index=-1)), "start_index"),
        (audit.ListEntries(audit_pb2.ListEntriesRequest(page_size=-1)), "page_size"),
        (audit.GetInclusionProof(audit_pb2.GetInclusionProofRequest()), "event_id"),
    ):
        _, error = await refused(call)
        assert (error.reason, error.metadata["field"]) == (Reason.FIELD_INVALID, field)
    _, error = await refused(audit.GetInclusionProof(audit_pb2.GetInclusionProofRequest(event_id="e1")))
    assert error.reason is Reason.EVENT_UNKNOWN


async def test_kill_9_of_service_and_log_mid_stream_loses_nothing_and_doubles_nothing(
    valkey: ValkeyServer, publisher: RedisPublisher, tmp_path: Path
) -> None:
    sent = [audit_event(number) for number in range(3000)]
    with running_service("audit", tmp_path, valkey.url, service_keys(tmp_path)) as service:
        kills = [(service.restart, 600), (service.restart, 1200), (valkey.restart, 1800)]
        await publish_over_kills(publisher, sent, kills)
        await asyncio.to_thread(service.restart)
        async with client(service.address) as audit:
            for message in sent[::100]:
                await arrived(audit, message.event_id)
            async with asyncio.timeout(60):
                while True:
                    stored = await everything(audit, audit_pb2.ListEventsRequest(page_size=1000))
                    if len(stored) >= len(sent):
                        break
                    await asyncio.sleep(0.05)
        assert stored == sent[::-1]
        assert await asyncio.to_thread(service.terminate) == 0
