"""assay.audit.v1.AuditAdminService: parse, one domain call, render. Served at the audit service's own address alone."""

from __future__ import annotations

from typing import Any

from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from services.audit.actions import hold_message
from services.audit.archive import Archiver
from services.audit.convert import searchable, time_of
from services.audit.custody import EVER, NEVER, Hold, Person
from services.audit.erasure import Erasure
from services.audit.holds import HoldDesk
from services.audit.retention import Retention
from services.kernel.errors import AssayError, Reason

MOST_OPERATOR, MOST_NOTE, MOST_TENANT, MOST_NAME = 128, 256, 64, 1024
"""Characters."""


class AuditAdminServicer(audit_pb2_grpc.AuditAdminServiceServicer):
    """Serves what may be done to the contents of the log."""

    def __init__(self, holds: HoldDesk, erasure: Erasure, retention: Retention, archiver: Archiver) -> None:
        self._holds = holds
        self._erasure = erasure
        self._retention = retention
        self._archiver = archiver

    async def ErasePerson(self, request: audit_pb2.ErasePersonRequest, context: Any) -> audit_pb2.ErasePersonResponse:
        operator, note = _operator(request.operator), _line("note", request.note, MOST_NOTE)
        erased = await self._erasure.erase(_person(request), note, operator)
        return audit_pb2.ErasePersonResponse(event_id=erased.event_id, events=erased.events)

    async def PlaceHold(self, request: audit_pb2.PlaceHoldRequest, context: Any) -> audit_pb2.PlaceHoldResponse:
        operator = _operator(request.operator)
        return audit_pb2.PlaceHoldResponse(hold=hold_message(await self._holds.place(_hold(request.hold), operator)))

    async def ReleaseHold(self, request: audit_pb2.ReleaseHoldRequest, context: Any) -> audit_pb2.ReleaseHoldResponse:
        operator = _operator(request.operator)
        return audit_pb2.ReleaseHoldResponse(hold=hold_message(await self._holds.release(request.hold_id, operator)))

    async def ListHolds(self, request: audit_pb2.ListHoldsRequest, context: Any) -> audit_pb2.ListHoldsResponse:
        return audit_pb2.ListHoldsResponse(holds=map(hold_message, await self._holds.holds()))

    async def ExpireEvents(
        self, request: audit_pb2.ExpireEventsRequest, context: Any
    ) -> audit_pb2.ExpireEventsResponse:
        expiry = await self._retention.expire(_operator(request.operator), request.trust_clock)
        seconds, nanos = divmod(expiry.doubted, 10**9)
        return audit_pb2.ExpireEventsResponse(events=expiry.events, doubted=Duration(seconds=seconds, nanos=nanos))

    async def ArchiveEvents(
        self, request: audit_pb2.ArchiveEventsRequest, context: Any
    ) -> audit_pb2.ArchiveEventsResponse:
        operator = _operator(request.operator)
        if not request.HasField("before"):
            raise AssayError(Reason.FIELD_INVALID, field="before", value="not set", limit="a time")
        archived = await self._archiver.archive(time_of("before", request.before), operator)
        return audit_pb2.ArchiveEventsResponse(objects=archived.objects, events=archived.events)


def _operator(given: str) -> str:
    return _required("operator", _line("operator", given, MOST_OPERATOR), "the name of who does it")


def _person(request: audit_pb2.ErasePersonRequest) -> Person:
    tenant = _required("tenant", _line("tenant", request.tenant, MOST_TENANT), "a tenant's name")
    if bool(request.caller) == bool(request.subject):
        value = "set, and so is subject" if request.caller else "empty, and so is subject"
        raise AssayError(Reason.FIELD_INVALID, field="caller", value=value, limit="set, or subject instead of it")
    # As events are looked up by, whatever a caller called itself.
    caller = searchable(_short("caller", request.caller, MOST_NAME))
    return Person(tenant, caller, searchable(_short("subject", request.subject, MOST_NAME)))


def _hold(hold: audit_pb2.Hold) -> Hold:
    return Hold(
        tenant=_required("hold.tenant", _line("hold.tenant", hold.tenant, MOST_TENANT), "a tenant's name"),
        caller=searchable(_short("hold.caller", hold.caller, MOST_NAME)),
        start=time_of("hold.start_time", hold.start_time) if hold.HasField("start_time") else EVER,
        end=time_of("hold.end_time", hold.end_time) if hold.HasField("end_time") else NEVER,
        note=_line("hold.note", hold.note, MOST_NOTE),
    )


def _required(field: str, given: str, wanted: str) -> str:
    if not given.strip():
        raise AssayError(Reason.FIELD_INVALID, field=field, value="empty", limit=wanted)
    return given


def _short(field: str, given: str, most: int) -> str:
    if len(given) > most:
        value = f"{len(given)} characters"
        raise AssayError(Reason.FIELD_INVALID, field=field, value=value, limit=f"at most {most} characters")
    return given


def _line(field: str, given: str, most: int) -> str:
    """Returns one line of text. Nothing of a bad one is quoted: it may hold what it should not."""
    if not _short(field, given, most).isprintable():
        raise AssayError(
            Reason.FIELD_INVALID, field=field, value="not printable", limit="one line of printable characters"
        )
    return given
