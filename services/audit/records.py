"""The stored form of an event, assay.audit.v1.AuditRecord: what is personal is sealed, the rest is in the clear.

The bytes that are made here are what the leaf's hash is taken of, so they are made once and never made again.
"""

from __future__ import annotations

from assay.audit.v1 import audit_pb2
from google.protobuf.message import DecodeError

from services.audit.vault import Key, WrongKey
from services.kernel.timestamps import timestamp

_PERSONAL = ("caller", "request_id", "subject")


class RecordUnreadable(Exception):
    """The bytes are no record, or another event's, or what is sealed in them can't be opened with the key it names."""


def is_personal(outcome: str) -> bool:
    """Whether an event of this outcome holds anything personal. What an operator did to the log stays attributable."""
    return outcome != "action"


def record_of(payload: bytes, append_time: int, key: Key | None) -> bytes:
    """Returns the record of a serialised AuditEvent; everything is in the clear where there is no key."""
    event = audit_pb2.AuditEvent.FromString(payload)
    record = audit_pb2.AuditRecord(append_time=timestamp(append_time))
    if key is not None:
        personal = audit_pb2.AuditPersonal()
        for name in _PERSONAL:
            setattr(personal, name, getattr(event, name))
            event.ClearField(name)  # type: ignore[arg-type]  # the stub wants the name as a literal
        if event.HasField("input"):
            personal.input.CopyFrom(event.input)
            event.ClearField("input")
        record.key_id = key.key_id
        record.sealed = key.seal(personal.SerializeToString(), event.event_id.encode())
    record.event.CopyFrom(event)
    return record.SerializeToString()


def event_of(record: bytes, event_id: str, key: Key | None) -> bytes:
    """Returns the serialised AuditEvent of a record; without what is personal where there is no key any more.

    Raises:
        RecordUnreadable
    """
    try:
        read = audit_pb2.AuditRecord.FromString(record)
        event = read.event
        if event.event_id != event_id:
            raise RecordUnreadable
        if key is not None and read.sealed:
            personal = audit_pb2.AuditPersonal.FromString(key.unseal(read.sealed, event.event_id.encode()))
            for name in _PERSONAL:
                setattr(event, name, getattr(personal, name))
            if personal.HasField("input"):
                event.input.CopyFrom(personal.input)
    except (DecodeError, WrongKey) as fault:
        raise RecordUnreadable from fault
    return event.SerializeToString()
