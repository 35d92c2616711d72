"""The events that the log writes of itself: what an operator, or the service, did to what it holds."""

from __future__ import annotations

from collections.abc import Sequence

from assay.audit.v1 import audit_pb2

from services.audit import convert
from services.audit.custody import EVER, NEVER, Hold, Span
from services.audit.events import SCHEMA, Arrival
from services.kernel.identifiers import uuid7
from services.kernel.timestamps import timestamp

_SERVICE = f"/{audit_pb2.DESCRIPTOR.services_by_name['AuditAdminService'].full_name}/"


def person_erased(key_id: str, tenant: str, events: int, note: str, operator: str, now: int) -> Arrival:
    """Returns the event of a key's destruction."""
    done = audit_pb2.PersonErased(key_id=key_id, tenant=tenant, events=events, note=note)
    return _event(audit_pb2.AuditAction(person_erased=done), "ErasePerson", tenant, operator, now)


def hold_placed(hold: Hold, operator: str, now: int) -> Arrival:
    """Returns the event of a hold's beginning."""
    return _event(audit_pb2.AuditAction(hold_placed=hold_message(hold)), "PlaceHold", hold.tenant, operator, now)


def hold_released(hold: Hold, operator: str, now: int) -> Arrival:
    """Returns the event of a hold's end."""
    return _event(audit_pb2.AuditAction(hold_released=hold_message(hold)), "ReleaseHold", hold.tenant, operator, now)


def contents_expired(spans: Sequence[Span], horizon: int, operator: str, now: int) -> Arrival:
    """Returns the event of contents' removal."""
    done = audit_pb2.ContentsRemoved(ranges=_ranges(spans), horizon=timestamp(horizon))
    return _event(audit_pb2.AuditAction(contents_expired=done), "ExpireEvents", "", operator, now)


def contents_archived(spans: Sequence[Span], name: str, sha256: bytes, operator: str, now: int) -> Arrival:
    """Returns the event of contents' move."""
    done = audit_pb2.ContentsArchived(ranges=_ranges(spans), object=name, sha256=sha256)
    return _event(audit_pb2.AuditAction(contents_archived=done), "ArchiveEvents", "", operator, now)


def hold_message(hold: Hold) -> audit_pb2.Hold:
    """Returns the message of a hold."""
    return audit_pb2.Hold(
        hold_id=hold.hold_id,
        tenant=hold.tenant,
        caller=hold.caller,
        start_time=None if hold.start == EVER else timestamp(hold.start),
        end_time=None if hold.end == NEVER else timestamp(hold.end),
        note=hold.note,
        create_time=timestamp(hold.create_time),
    )


def _ranges(spans: Sequence[Span]) -> list[audit_pb2.EntryRange]:
    return [audit_pb2.EntryRange(start_index=start, end_index=end) for start, end in spans]


def _event(action: audit_pb2.AuditAction, method: str, tenant: str, operator: str, now: int) -> Arrival:
    event = audit_pb2.AuditEvent(
        event_id=uuid7(),
        create_time=timestamp(now),
        caller=operator,
        method=f"{_SERVICE}{method}",
        action=action,
        tenant=tenant,
        schema=SCHEMA,
    )
    return convert.arrival_of(event, event.SerializeToString())
