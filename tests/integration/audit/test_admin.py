"""AuditAdminService over the audit service's own wiring: a real Valkey, a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import REGISTRY

from benchmarks.postgres_server import PostgresServer
from services.audit.settings import Settings
from services.audit.wiring import build
from services.kernel.errors import AssayError, Reason
from services.kernel.eventlog.port import AUDIT_TOPIC, Event
from services.kernel.eventlog.redis_streams import RedisPublisher
from services.kernel.hosting import aio
from services.kernel.identifiers import uuid7
from tests.fixtures import audit as fixtures
from tests.fixtures.services import error_of
from tests.fixtures.valkey import ValkeyServer


@dataclass
class Service:
    """A running audit service, seen from both sides."""

    audit: audit_pb2_grpc.AuditServiceAsyncStub
    admin: audit_pb2_grpc.AuditAdminServiceAsyncStub
    publisher: RedisPublisher

    async def take(self, *events: audit_pb2.AuditEvent) -> None:
        """Publishes events and waits until the last one is there."""
        await self.publisher.publish(
            AUDIT_TOPIC, [Event(event.event_id, event.SerializeToString()) for event in events]
        )
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.audit.GetEvent(audit_pb2.GetEventRequest(event_id=events[-1].event_id))
                    return
                except grpc.aio.AioRpcError as failure:
                    if failure.code() is not grpc.StatusCode.NOT_FOUND:
                        raise
                await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(log: ValkeyServer, folder: Path, **more: str) -> AsyncIterator[Service]:
    keys = {name: Path(file) for name, file in fixtures.key_settings(folder / "keys").items()}
    archive = (folder / "archive").as_uri()
    settings = Settings(
        event_log=log.url, data=folder / "audit", archive=archive, checkpoint_seconds=0.05, **keys, **more
    )
    publisher = RedisPublisher(log.url)
    async with aio.serve(build(settings)) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Service(
            audit_pb2_grpc.AuditServiceStub(channel), audit_pb2_grpc.AuditAdminServiceStub(channel), publisher
        )
    await publisher.close()


@pytest.fixture
async def service(valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(valkey, tmp_path) as made:
        yield made


def event(number: int, **fields: object) -> audit_pb2.AuditEvent:
    made = fixtures.audit_event(number, event_id=uuid7(), **fields)
    made.create_time.GetCurrentTime()
    return made


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, AssayError]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_of(caught.value)


async def test_a_hold_is_placed_listed_heeded_and_released(service: Service) -> None:
    await hold_then_erase(service)


async def test_it_is_the_same_on_postgresql(
    valkey: ValkeyServer, shared_postgres: PostgresServer, tmp_path: Path
) -> None:
    async with serving(valkey, tmp_path, store=shared_postgres.make_database()) as service:
        await hold_then_erase(service)
        expired = await service.admin.ExpireEvents(audit_pb2.ExpireEventsRequest(operator="ops"))
        assert expired.events == 0


async def hold_then_erase(service: Service) -> None:
    theirs = event(1)
    await service.take(theirs)
    asked = audit_pb2.Hold(tenant="acme", caller="ward-7", note="case 12", end_time=Timestamp(seconds=4_000_000_000))
    placed = (await service.admin.PlaceHold(audit_pb2.PlaceHoldRequest(hold=asked, operator="counsel"))).hold
    assert (placed.tenant, placed.caller, placed.note, placed.end_time) == ("acme", "ward-7", "case 12", asked.end_time)
    assert placed.HasField("create_time")
    assert not placed.HasField("start_time")
    assert list((await service.admin.ListHolds(audit_pb2.ListHoldsRequest())).holds) == [placed]
    erase = audit_pb2.ErasePersonRequest(tenant="acme", caller="ward-7", operator="dpo")
    code, error = await refused(service.admin.ErasePerson(erase))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, Reason.HOLD_IN_FORCE)
    assert error.metadata == {"hold_id": placed.hold_id}
    release = audit_pb2.ReleaseHoldRequest(hold_id=placed.hold_id, operator="counsel")
    assert (await service.admin.ReleaseHold(release)).hold == placed
    code, error = await refused(service.admin.ReleaseHold(release))
    assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, Reason.HOLD_UNKNOWN)
    erased = await service.admin.ErasePerson(erase)
    assert erased.events == 1
    left = (await service.audit.GetEvent(audit_pb2.GetEventRequest(event_id=theirs.event_id))).event
    assert (left.caller, left.HasField("input"), left.answer) == ("", False, theirs.answer)
    said = await service.audit.ListEvents(audit_pb2.ListEventsRequest(outcome="action"))
    kinds = [one.action.WhichOneof("action") for one in said.events]
    assert kinds == ["person_erased", "hold_released", "hold_placed"]
    assert [one.caller for one in said.events] == ["dpo", "counsel", "counsel"]


async def test_an_action_is_signed_and_proven_like_any_event(service: Service) -> None:
    await service.take(event(1))
    erased = await service.admin.ErasePerson(
        audit_pb2.ErasePersonRequest(tenant="acme", caller="ward-7", operator="dpo")
    )
    async with asyncio.timeout(60):
        while True:
            try:
                request = audit_pb2.GetInclusionProofRequest(event_id=erased.event_id)
                proof = await service.audit.GetInclusionProof(request)
                break
            except grpc.aio.AioRpcError as failure:
                if error_of(failure).reason is not Reason.PROOF_PENDING:
                    raise
            await asyncio.sleep(0.02)
    assert (proof.index, proof.tree_size) == (1, 2)


async def test_expiry_and_archive_have_nothing_to_do_with_what_is_new(service: Service) -> None:
    await service.take(event(1), event(2))
    expired = await service.admin.ExpireEvents(audit_pb2.ExpireEventsRequest(operator="ops"))
    assert (expired.events, expired.doubted.ToNanoseconds()) == (0, 0)
    before = Timestamp()
    before.GetCurrentTime()
    archived = await service.admin.ArchiveEvents(audit_pb2.ArchiveEventsRequest(before=before, operator="ops"))
    assert (list(archived.objects), archived.events) == ([], 0)
    assert REGISTRY.get_sample_value("assay_audit_retention_days") == 183
    assert not (await service.audit.ListEvents(audit_pb2.ListEventsRequest(outcome="action"))).events


Erase, Place = audit_pb2.ErasePersonRequest, audit_pb2.PlaceHoldRequest
Hold = audit_pb2.Hold


@pytest.mark.parametrize(
    ("method", "request_", "field", "value"),
    [
        ("ErasePerson", Erase(tenant="acme", caller="a"), "operator", "empty"),
        ("ErasePerson", Erase(tenant="acme", caller="a", operator=" "), "operator", "empty"),
        ("ErasePerson", Erase(tenant="acme", caller="a", operator="o" * 129), "operator", "129 characters"),
        ("ErasePerson", Erase(tenant="acme", caller="a", operator="o\n"), "operator", "not printable"),
        ("ErasePerson", Erase(caller="a", operator="o"), "tenant", "empty"),
        ("ErasePerson", Erase(tenant="acme", operator="o"), "caller", "empty, and so is subject"),
        (
            "ErasePerson",
            Erase(tenant="acme", caller="a", subject="b", operator="o"),
            "caller",
            "set, and so is subject",
        ),
        ("ErasePerson", Erase(tenant="acme", caller="a", operator="o", note="n" * 257), "note", "257 characters"),
        ("PlaceHold", Place(operator="o"), "hold.tenant", "empty"),
        ("PlaceHold", Place(hold=Hold(tenant="a")), "operator", "empty"),
        ("PlaceHold", Place(hold=Hold(tenant="a", note="\x07"), operator="o"), "hold.note", "not printable"),
        (
            "PlaceHold",
            Place(hold=Hold(tenant="a", start_time=Timestamp(seconds=2), end_time=Timestamp(seconds=2)), operator="o"),
            "hold.end_time",
            "not after start_time",
        ),
        (
            "PlaceHold",
            Place(hold=Hold(tenant="a", start_time=Timestamp(nanos=-1)), operator="o"),
            "hold.start_time",
            "no time",
        ),
        ("ReleaseHold", audit_pb2.ReleaseHoldRequest(operator="o"), "hold_id", "empty"),
        ("ExpireEvents", audit_pb2.ExpireEventsRequest(), "operator", "empty"),
        ("ArchiveEvents", audit_pb2.ArchiveEventsRequest(operator="o"), "before", "not set"),
    ],
)
async def test_bad_requests_name_the_field_and_the_fault(
    service: Service, method: str, request_: object, field: str, value: str
) -> None:
    code, error = await refused(getattr(service.admin, method)(request_))
    assert (code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.FIELD_INVALID)
    assert (error.metadata["field"], error.metadata["value"]) == (field, value)
