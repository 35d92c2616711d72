"""Between the wire and the audit log's own types."""

from __future__ import annotations

import math
from collections.abc import Sequence

from assay.audit.v1 import audit_pb2
from assay.errors.v1 import errors_pb2
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from services.audit.events import SCHEMA, Arrival, Entry, EventQuery, LoggedEvent
from services.audit.merkle.notes import Verifier
from services.audit.proofs import Consistency, Inclusion
from services.kernel.errors import AssayError, Reason
from services.kernel.eventlog.port import Event
from services.kernel.stores import Refused
from services.kernel.timestamps import nanoseconds

_REASON_PREFIX = "ERROR_REASON_"
_MOST_ID_CHARACTERS = 64
_OUTCOMES = ("answer", "error", "action")


def to_arrival(event: Event) -> Arrival:
    """Reads an event of the topic assay.audit.v1.

    Raises:
        Refused: it is no AuditEvent, has no id or another than its key, no time, or a layout that is not known here.
    """
    try:
        message = audit_pb2.AuditEvent.FromString(event.payload)
    except DecodeError:
        raise Refused("not an AuditEvent") from None
    if message.schema > SCHEMA:
        raise Refused(f"schema {message.schema} is newer than this program, which knows {SCHEMA}")
    if message.schema < SCHEMA:
        raise Refused("no schema")
    if not message.event_id or message.event_id != event.key:
        raise Refused("event_id is not the event's key")
    if len(message.event_id) > _MOST_ID_CHARACTERS or not message.event_id.isprintable():
        raise Refused("event_id is no identifier")
    if message.WhichOneof("outcome") == "action":
        raise Refused("an action; only the log itself writes those")
    return arrival_of(message, event.payload)


def arrival_of(message: audit_pb2.AuditEvent, payload: bytes) -> Arrival:
    """Returns an event and what it is looked up by; `payload` is the message, serialised.

    Raises:
        Refused: it has no time.
    """
    if not message.HasField("create_time"):
        raise Refused("no create_time")
    try:
        create_time = nanoseconds(message.create_time)
    except ValueError:
        raise Refused("create_time is no time") from None
    outcome = message.WhichOneof("outcome") or ""
    confidence = message.answer.confidence if outcome == "answer" else None
    return Arrival(
        event_id=message.event_id,
        create_time=create_time,
        payload=payload,
        tenant=searchable(message.tenant),
        caller=searchable(message.caller),
        subject=searchable(message.subject),
        request_id=searchable(message.request_id),
        model=searchable(message.model),
        label=searchable(message.answer.label),
        outcome=outcome,
        reason=_reason(message.error.reason) if outcome == "error" else "",
        confidence=confidence if confidence is not None and math.isfinite(confidence) else None,
    )


def searchable(text: str) -> str:
    """Returns a text as it is searched for: PostgreSQL holds no NUL in a text. The record holds the text as it was."""
    return text.replace("\0", "\ufffd")


def _reason(value: int) -> str:
    try:
        return errors_pb2.ErrorReason.Name(errors_pb2.ErrorReason.ValueType(value)).removeprefix(_REASON_PREFIX)
    except ValueError:
        return str(value)


def to_query(request: audit_pb2.ListEventsRequest) -> EventQuery:
    """Reads the filters of a request; an empty one is none.

    Raises:
        AssayError: FIELD_INVALID when a time is no time, a confidence not 0 to 1 or an outcome none that there is.
    """
    outcome, reason = _outcome(request.outcome)
    return EventQuery(
        caller=searchable(request.caller) or None,
        request_id=searchable(request.request_id) or None,
        model=searchable(request.model) or None,
        start=_time(request, "start_time"),
        end=_time(request, "end_time"),
        tenant=searchable(request.tenant) or None,
        subject=searchable(request.subject) or None,
        label=searchable(request.label) or None,
        outcome=outcome,
        reason=reason,
        min_confidence=_confidence(request, "min_confidence"),
        max_confidence=_confidence(request, "max_confidence"),
    )


def _outcome(text: str) -> tuple[str | None, str | None]:
    if not text:
        return None, None
    if text in _OUTCOMES:
        return text, None
    if text == "UNSPECIFIED" or f"{_REASON_PREFIX}{text}" not in errors_pb2.ErrorReason.keys():  # noqa: SIM118  # not a dict
        raise AssayError(
            Reason.FIELD_INVALID,
            field="outcome",
            value="none that there is",
            limit='"answer", "error", "action" or the name of an error\'s reason such as "TEXT_BLANK"',
        )
    return "error", text


def _confidence(request: audit_pb2.ListEventsRequest, field: str) -> float | None:
    if not request.HasField(field):  # type: ignore[arg-type]  # the stub wants the name as a literal
        return None
    value: float = getattr(request, field)
    if not 0 <= value <= 1:
        raise AssayError(Reason.FIELD_INVALID, field=field, value=f"{value:g}", limit="0 to 1")
    return value


def _time(request: audit_pb2.ListEventsRequest, field: str) -> int | None:
    if not request.HasField(field):  # type: ignore[arg-type]  # the stub wants the name as a literal
        return None
    return time_of(field, getattr(request, field))


def time_of(field: str, given: Timestamp) -> int:
    """Returns the Unix nanoseconds of a request's field.

    Raises:
        AssayError: FIELD_INVALID, it is no time.
    """
    try:
        return nanoseconds(given)
    except ValueError:
        raise AssayError(
            Reason.FIELD_INVALID,
            field=field,
            value="no time",
            limit="of the years 1 to 9999, with nanos of 0 to 999999999",
        ) from None


def from_logged(logged: LoggedEvent) -> audit_pb2.AuditEvent:
    """Returns the message of an event."""
    return audit_pb2.AuditEvent.FromString(logged.event)


def from_page(events: Sequence[LoggedEvent], next_page_token: str) -> audit_pb2.ListEventsResponse:
    """Returns the message of a page."""
    return audit_pb2.ListEventsResponse(
        events=[from_logged(logged) for logged in events], next_page_token=next_page_token
    )


def from_checkpoint(note: str, verifier: Verifier) -> audit_pb2.GetCheckpointResponse:
    """Returns the message of a checkpoint."""
    return audit_pb2.GetCheckpointResponse(checkpoint=note, public_key=verifier.vkey)


def from_inclusion(proof: Inclusion) -> audit_pb2.GetInclusionProofResponse:
    """Returns the message of an inclusion proof."""
    return audit_pb2.GetInclusionProofResponse(
        index=proof.index,
        tree_size=proof.size,
        leaf_hash=proof.leaf_hash,
        path=proof.path,
        checkpoint=proof.checkpoint,
    )


def from_consistency(proof: Consistency) -> audit_pb2.GetConsistencyProofResponse:
    """Returns the message of a consistency proof."""
    return audit_pb2.GetConsistencyProofResponse(
        first_size=proof.first, second_size=proof.second, path=proof.path, checkpoint=proof.checkpoint
    )


def from_entries(entries: Sequence[Entry]) -> audit_pb2.ListEntriesResponse:
    """Returns the message of entries."""
    return audit_pb2.ListEntriesResponse(entries=map(from_entry, entries))


def from_entry(entry: Entry) -> audit_pb2.LogEntry:
    """Returns the message of an entry."""
    return audit_pb2.LogEntry(
        index=entry.index,
        leaf_hash=entry.leaf_hash,
        record=entry.record,
        state=audit_pb2.EntryState.ValueType(int(entry.state)),
    )
