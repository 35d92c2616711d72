from __future__ import annotations

import pytest
from assay.audit.v1 import audit_pb2

from services.audit.records import RecordUnreadable, event_of, record_of
from tests.fixtures.audit import audit_event, vault

UNKNOWN = b"\xfa\x3f\x01x"
"""A field that this version does not know."""


def test_record_gives_the_event_back_with_fields_that_are_not_known_yet() -> None:
    key = vault().key(*vault().new_key())
    event = audit_event(1, subject="s")
    payload = event.SerializeToString() + UNKNOWN
    record = record_of(payload, 5, key)
    assert audit_pb2.AuditEvent.FromString(event_of(record, "e000001", key)) == audit_pb2.AuditEvent.FromString(payload)
    assert UNKNOWN in event_of(record, "e000001", key)
    read = audit_pb2.AuditRecord.FromString(record)
    assert (read.key_id, read.append_time.ToNanoseconds()) == (key.key_id, 5)
    assert read.event.event_id == event.event_id


def test_action_stays_attributable() -> None:
    event = audit_event(1, action=audit_pb2.AuditAction(), caller="operator")
    record = record_of(event.SerializeToString(), 5, None)
    assert audit_pb2.AuditRecord.FromString(record).event == event
    assert audit_pb2.AuditEvent.FromString(event_of(record, "e000001", None)) == event


@pytest.mark.parametrize("spoil", ["not a message", "sealed for another event", "another event's", "cut"])
def test_a_record_that_was_changed_is_not_read(spoil: str) -> None:
    key = vault().key(*vault().new_key())
    read = audit_pb2.AuditRecord.FromString(record_of(audit_event(1).SerializeToString(), 5, key))
    if spoil == "sealed for another event":
        read.event.event_id = "e000002"
    elif spoil == "cut":
        read.sealed = read.sealed[:-1]
    record = b"\xff" if spoil == "not a message" else read.SerializeToString()
    with pytest.raises(RecordUnreadable):
        event_of(record, "e000009" if spoil == "another event's" else read.event.event_id, key)
