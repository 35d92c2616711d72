from __future__ import annotations

import pytest
from assay.audit.v1 import audit_pb2

from services.audit import convert
from services.audit.events import Arrival, EventQuery
from services.kernel.errors import AssayError, Reason
from services.kernel.eventlog.port import Event
from services.kernel.stores import Refused
from tests.fixtures.audit import audit_event


def test_event_is_read_with_what_it_is_looked_up_by() -> None:
    message = audit_event(1, subject="[subject:1]")
    payload = message.SerializeToString() + b"\xfa\x3f\x01x"  # a field that this version does not know
    assert convert.to_arrival(Event("e000001", payload)) == Arrival(
        event_id="e000001",
        create_time=1_001 * 10**9,
        payload=payload,
        tenant="acme",
        caller="ward-7",
        subject="[subject:1]",
        request_id="r1",
        model="banking",
        label="card_lost",
        outcome="answer",
        reason="",
        confidence=0.75,
    )


@pytest.mark.parametrize(
    ("reason", "name"), [(1, "TEXT_BLANK"), (23, "INTERNAL"), (9999, "9999")], ids=["known", "last", "newer than this"]
)
def test_error_is_looked_up_by_its_reason(reason: int, name: str) -> None:
    message = audit_event(1)
    message.error.reason = reason  # type: ignore[assignment]  # any number may come
    read = convert.to_arrival(Event(message.event_id, message.SerializeToString()))
    assert (read.outcome, read.reason, read.label, read.confidence) == ("error", name, "", None)


def test_confidence_that_is_no_number_is_none() -> None:
    message = audit_event(1)
    message.answer.confidence = float("nan")
    assert convert.to_arrival(Event(message.event_id, message.SerializeToString())).confidence is None


def test_a_person_is_the_subject_if_there_is_one_else_the_caller() -> None:
    assert Arrival("e", 0, b"", caller="a").person == "caller a"
    assert Arrival("e", 0, b"", caller="a", subject="b").person == "subject b"
    assert Arrival("e", 0, b"", caller="subject b").person != Arrival("e", 0, b"", subject="b").person


def without(*names: str) -> Event:
    message = audit_event(1)
    for name in names:
        message.ClearField(name)  # type: ignore[arg-type]
    return Event("e000001", message.SerializeToString())


def changed(key: str = "e000001", **fields: object) -> Event:
    return Event(key, audit_event(1, **fields).SerializeToString())


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Event("e1", b"\xff\xff"), "not an AuditEvent"),
        (Event("e1", b"\x0a\x01\xff"), "not an AuditEvent"),
        (without("schema"), "no schema"),
        (changed(schema=2), "schema 2 is newer than this program, which knows 1"),
        (changed(key="e2"), "event_id is not the event's key"),
        (without("event_id"), "event_id is not the event's key"),
        (changed("", event_id=""), "event_id is not the event's key"),
        (changed("e\0", event_id="e\0"), "event_id is no identifier"),
        (changed("e" * 65, event_id="e" * 65), "event_id is no identifier"),
        (without("create_time"), "no create_time"),
        (Event("e1", b"\x88\x01\x01\x0a\x02e1\x12\x06\x10\x80\x94\xeb\xdc\x03"), "create_time is no time"),
        (changed(action=audit_pb2.AuditAction()), "an action; only the log itself writes those"),
    ],
)
def test_what_is_no_event_is_refused(event: Event, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        convert.to_arrival(event)
    assert caught.value.reason == reason


def test_query() -> None:
    assert convert.to_query(audit_pb2.ListEventsRequest()) == EventQuery()
    request = audit_pb2.ListEventsRequest(
        caller="a",
        request_id="b",
        model="c",
        start_time={"seconds": 0},
        end_time={"seconds": 1},
        tenant="d\0",
        subject="e",
        label="f",
        outcome="TEXT_BLANK",
        min_confidence=0,
        max_confidence=1,
    )
    assert convert.to_query(request) == EventQuery(
        "a", "b", "c", 0, 10**9, "d\ufffd", "e", "f", "error", "TEXT_BLANK", 0.0, 1.0
    )


@pytest.mark.parametrize("outcome", ["answer", "error", "action"])
def test_outcome_of_a_query(outcome: str) -> None:
    query = convert.to_query(audit_pb2.ListEventsRequest(outcome=outcome))
    assert (query.outcome, query.reason) == (outcome, None)


def refused(request: audit_pb2.ListEventsRequest) -> AssayError:
    with pytest.raises(AssayError) as caught:
        convert.to_query(request)
    assert caught.value.reason is Reason.FIELD_INVALID
    return caught.value


@pytest.mark.parametrize("field", ["start_time", "end_time"])
def test_time_that_is_none_is_refused(field: str) -> None:
    request = audit_pb2.ListEventsRequest()
    getattr(request, field).nanos = -1
    assert refused(request).metadata["field"] == field


@pytest.mark.parametrize("field", ["min_confidence", "max_confidence"])
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_confidence_that_is_none_is_refused(field: str, value: float) -> None:
    error = refused(audit_pb2.ListEventsRequest(**{field: value}))  # type: ignore[arg-type]
    assert (error.metadata["field"], error.metadata["limit"]) == (field, "0 to 1")


@pytest.mark.parametrize("outcome", ["text_blank", "UNSPECIFIED", "ERROR_REASON_TEXT_BLANK", "13800138000"])
def test_outcome_that_is_none_is_refused_and_not_quoted(outcome: str) -> None:
    error = refused(audit_pb2.ListEventsRequest(outcome=outcome))
    assert error.metadata["field"] == "outcome"
    assert outcome not in error.metadata["value"]
