"""Between the wire and the audit log's own types."""

from __future__ import annotations

from collections.abc import Sequence

from assay.audit.v1 import audit_pb2
from google.protobuf.message import DecodeError

from services.audit.events import EventQuery, EventRecord
from services.kernel.errors import AssayError, Reason
from services.kernel.eventlog.port import Event
from services.kernel.stores import Refused
from services.kernel.timestamps import nanoseconds


def to_record(event: Event) -> EventRecord:
    """Reads an event of the topic assay.audit.v1.

    Raises:
        Refused: it is no AuditEvent, has no id or another than its key, or no time.
    """
    try:
        message = audit_pb2.AuditEvent.FromString(event.payload)
    except DecodeError:
        raise Refused("not an AuditEvent") from None
    if not message.event_id or message.event_id != event.key:
        raise Refused("event_id is not the event's key")
    if not message.HasField("create_time"):
        raise Refused("no create_time")
    try:
        create_time = nanoseconds(message.create_time)
    except ValueError:
        raise Refused("create_time is no time") from None
    return EventRecord(message.event_id, create_time, message.caller, message.request_id, message.model, event.payload)


def to_query(request: audit_pb2.ListEventsRequest) -> EventQuery:
    """Reads the filters of a request; an empty one is none.

    Raises:
        AssayError: FIELD_INVALID when start_time or end_time is no time.
    """
    return EventQuery(
        caller=request.caller or None,
        request_id=request.request_id or None,
        model=request.model or None,
        start=_time(request, "start_time"),
        end=_time(request, "end_time"),
    )


def _time(request: audit_pb2.ListEventsRequest, field: str) -> int | None:
    if not request.HasField(field):  # type: ignore[arg-type]  # the stub wants the name as a literal
        return None
    try:
        return nanoseconds(getattr(request, field))
    except ValueError:
        raise AssayError(
            Reason.FIELD_INVALID,
            field=field,
            value="no time",
            limit="of the years 1 to 9999, with nanos of 0 to 999999999",
        ) from None


def from_record(record: EventRecord) -> audit_pb2.AuditEvent:
    """Returns the message of an event."""
    return audit_pb2.AuditEvent.FromString(record.event)


def from_page(records: Sequence[EventRecord], next_page_token: str) -> audit_pb2.ListEventsResponse:
    """Returns the message of a page."""
    events = [from_record(record) for record in records]
    return audit_pb2.ListEventsResponse(events=events, next_page_token=next_page_token)
