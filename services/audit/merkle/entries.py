"""Entries and records between their bytes and what a verifier looks at."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from assay.audit.v1 import audit_pb2
from google.protobuf.message import DecodeError

from services.audit.merkle.verification import Content, EntriesBroken, Entry, RecordInvalid, Removal, State

LONGEST_ENTRY = 16 << 20
"""Bytes; what a file says is longer is not one of an entry."""

_CHUNK = 1 << 20
_STATES = {
    audit_pb2.ENTRY_STATE_PRESENT: State.PRESENT,
    audit_pb2.ENTRY_STATE_EXPIRED: State.EXPIRED,
    audit_pb2.ENTRY_STATE_ARCHIVED: State.ARCHIVED,
}


def read_content(record: bytes) -> Content:
    """Reads what verify() looks at in a serialised AuditRecord.

    Raises:
        RecordInvalid: it is no AuditRecord, or of an event without an id.
    """
    try:
        event = audit_pb2.AuditRecord.FromString(record).event
    except DecodeError:
        raise RecordInvalid("its record is not an AuditRecord") from None
    event_id = event.event_id
    if not event_id:
        raise RecordInvalid("its record has no event_id")
    if event.WhichOneof("outcome") != "action":
        return Content(event_id)
    return Content(event_id, _removals(event.action))


def _removals(action: audit_pb2.AuditAction) -> list[Removal]:
    kind = action.WhichOneof("action")
    if kind == "contents_expired":
        return [Removal(one.start_index, one.end_index, State.EXPIRED) for one in action.contents_expired.ranges]
    if kind == "contents_archived":
        return [Removal(one.start_index, one.end_index, State.ARCHIVED) for one in action.contents_archived.ranges]
    return []


def to_entry(message: audit_pb2.LogEntry) -> Entry:
    """Returns the entry that a message holds. One in an unknown state counts as present: its record must be."""
    return Entry(message.index, message.leaf_hash, message.record, _STATES.get(message.state, State.PRESENT))


def framed(message: audit_pb2.LogEntry) -> bytes:
    """Returns an entry as it is in a file of entries: its length as a varint, then its bytes."""
    content = message.SerializeToString()
    length, prefix = len(content), bytearray()
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + content


def read_entries(file: BinaryIO) -> Iterator[Entry]:
    """Yields the entries of a file, one after the other, in little memory.

    Raises:
        EntriesBroken: what comes next is not an entry, or the file ends inside one.
    """
    buffer, at = b"", 0
    while True:
        length, content = _varint(buffer, at)
        end = content + length
        if length > LONGEST_ENTRY:
            raise EntriesBroken("what the file holds here is no entry")
        if not content or end > len(buffer):
            more = file.read(max(_CHUNK, length))
            if not more:
                if at < len(buffer):
                    raise EntriesBroken("the file ends inside it")
                return
            buffer, at = buffer[at:] + more, 0
            continue
        try:
            message = audit_pb2.LogEntry.FromString(buffer[content:end])
        except DecodeError:
            raise EntriesBroken("what the file holds here is no entry") from None
        yield to_entry(message)
        at = end


def restored(entries: Iterator[Entry], objects: Sequence[tuple[str, BinaryIO]]) -> Iterator[Entry]:
    """Yields entries, those that are archived with their contents again, as far as the archive's objects hold them.

    Whether a content is the right one shows when it is hashed, so an object needs no proof of its own.

    Raises:
        EntriesBroken: an object can't be read on; its text names the object. Or `entries` does.
    """
    archived = heapq.merge(*(_named(name, read_entries(file)) for name, file in objects), key=lambda one: one.place)
    found = next(archived, None)
    for entry in entries:
        while found is not None and found.place < entry.place:
            found = next(archived, None)
        if found is not None and found.place == entry.place and entry.state is State.ARCHIVED and not entry.record:
            entry = entry._replace(record=found.record, state=State.PRESENT)
        yield entry


def _named(name: str, entries: Iterator[Entry]) -> Iterator[Entry]:
    try:
        yield from entries
    except EntriesBroken as broken:
        raise EntriesBroken(f"{name}: {broken}") from None


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    """Returns a varint's value and where it ends; 0 and 0 when it is not whole yet."""
    value = shift = 0
    for place in range(at, min(at + 10, len(buffer))):
        byte = buffer[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    return (0, 0) if len(buffer) < at + 10 else (LONGEST_ENTRY + 1, at)
