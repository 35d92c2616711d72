from __future__ import annotations

import pytest
from assay.audit.v1 import audit_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.audit import convert
from services.audit.events import EventQuery, EventRecord
from services.kernel.errors import AssayError, Reason
from services.kernel.eventlog.port import Event
from services.kernel.stores import Refused


def audit_event() -> audit_pb2.AuditEvent:
    return audit_pb2.AuditEvent(
        event_id="e1",
        create_time=Timestamp(seconds=5, nanos=7),
        request_id="r1",
        caller="anonymous",
        method="/assay.ai.v1.AIService/ClassifyText",
        model="banking",
        model_version="v1.0.0",
        industry="finance",
        input=audit_pb2.AuditInput(text_hmac=b"\x00\xff" * 16, bytes=12, tokens=4),
        answer=audit_pb2.AuditAnswer(label="card_lost", confidence=0.5, review_task_id="t1"),
        latency=Duration(nanos=1_000_000),
        gateway="host/1",
    )


def test_event_comes_back_as_it_was_sent() -> None:
    message = audit_event()
    payload = message.SerializeToString() + b"\xfa\x3f\x01x"  # a field that this version does not know
    record = convert.to_record(Event("e1", payload))
    assert record == EventRecord("e1", 5_000_000_007, "anonymous", "r1", "banking", payload)
    rendered = convert.from_record(record)
    assert rendered.SerializeToString() == payload
    assert rendered.answer == message.answer


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Event("e1", b"\xff\xff"), "not an AuditEvent"),
        (Event("e1", b"\x0a\x01\xff"), "not an AuditEvent"),
        (Event("", b""), "event_id is not the event's key"),
        (Event("e2", audit_event().SerializeToString()), "event_id is not the event's key"),
        (Event("e1", b"\x0a\x02e1"), "no create_time"),
        (Event("e1", b"\x0a\x02e1\x12\x06\x10\x80\x94\xeb\xdc\x03"), "create_time is no time"),
    ],
)
def test_what_is_no_event_is_refused(event: Event, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        convert.to_record(event)
    assert caught.value.reason == reason


def test_query() -> None:
    assert convert.to_query(audit_pb2.ListEventsRequest()) == EventQuery()
    request = audit_pb2.ListEventsRequest(
        caller="a", request_id="b", model="c", start_time=Timestamp(), end_time=Timestamp(seconds=1)
    )
    assert convert.to_query(request) == EventQuery("a", "b", "c", 0, 10**9)


@pytest.mark.parametrize("field", ["start_time", "end_time"])
def test_time_that_is_none_is_refused(field: str) -> None:
    request = audit_pb2.ListEventsRequest()
    getattr(request, field).nanos = -1
    with pytest.raises(AssayError) as caught:
        convert.to_query(request)
    assert caught.value.reason is Reason.FIELD_INVALID
    assert caught.value.metadata["field"] == field
