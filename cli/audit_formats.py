"""Audit events as rows: the columns of an export, and how Parquet, CSV and JSON Lines write them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import IO, Any

from assay.audit.v1 import audit_pb2
from assay.errors.v1 import errors_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

Event = audit_pb2.AuditEvent
Write = Callable[[Sequence[Event]], None]

ROW_GROUP = 50_000
"""Rows of a Parquet file that are compressed together; as many are in memory."""

COLUMNS: Mapping[str, tuple[str, Callable[[Event], Any]]] = {
    "event_id": ("string", lambda event: event.event_id),
    "create_time": ("time", lambda event: event.create_time.ToNanoseconds()),
    "tenant": ("string", lambda event: event.tenant),
    "caller": ("string", lambda event: event.caller),
    "subject": ("string", lambda event: event.subject),
    "request_id": ("string", lambda event: event.request_id),
    "method": ("string", lambda event: event.method),
    "model": ("string", lambda event: event.model),
    "model_version": ("string", lambda event: event.model_version),
    "industry": ("string", lambda event: event.industry),
    "tier": ("string", lambda event: event.tier),
    "outcome": ("string", lambda event: event.WhichOneof("outcome") or ""),
    "label": ("string", lambda event: event.answer.label if event.HasField("answer") else None),
    "confidence": ("float", lambda event: event.answer.confidence if event.HasField("answer") else None),
    "review_task_id": ("string", lambda event: event.answer.review_task_id or None),
    "reason": ("string", lambda event: _reason(event) if event.HasField("error") else None),
    "details": ("string", lambda event: _details(event)),
    "masked_text": ("string", lambda event: event.input.masked_text if event.HasField("input") else None),
    "text_hmac": ("string", lambda event: event.input.text_hmac.hex() or None),
    "text_bytes": ("int", lambda event: event.input.bytes if event.HasField("input") else None),
    "text_characters": ("int", lambda event: event.input.characters if event.HasField("input") else None),
    "text_tokens": ("int", lambda event: event.input.tokens if event.HasField("input") else None),
    "latency_ns": ("int", lambda event: event.latency.ToNanoseconds() if event.HasField("latency") else None),
    "gateway": ("string", lambda event: event.gateway),
    "schema": ("int", lambda event: event.schema),
}
"""Name: kind, and how it is read; None where an event has no such thing."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _reason(event: Event) -> str:
    value = event.error.reason
    try:
        return errors_pb2.ErrorReason.Name(value).removeprefix("ERROR_REASON_")
    except ValueError:
        return str(value)


def _details(event: Event) -> str | None:
    """What an error or an action says beside its kind, as JSON."""
    if event.HasField("error"):
        return json.dumps(dict(sorted(event.error.metadata.items())), ensure_ascii=False)
    if event.HasField("action"):
        return json.dumps(_plain(event.action), ensure_ascii=False)
    return None


def _plain(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


@contextmanager
def parquet(file: IO[bytes]) -> Iterator[Write]:
    """Writes a Parquet file with typed columns, compressed by zstd; times are UTC nanoseconds."""
    import pyarrow
    from pyarrow import parquet as library

    kinds = {
        "string": pyarrow.string(),
        "time": pyarrow.timestamp("ns", tz="UTC"),
        "float": pyarrow.float32(),
        "int": pyarrow.int64(),
    }
    schema = pyarrow.schema([(name, kinds[kind]) for name, (kind, _) in COLUMNS.items()])
    held: list[Event] = []
    with library.ParquetWriter(file, schema, compression="zstd") as writer:

        def flush() -> None:
            columns = {name: [read(event) for event in held] for name, (_, read) in COLUMNS.items()}
            writer.write_table(pyarrow.table(columns, schema=schema))
            held.clear()

        def write(events: Sequence[Event]) -> None:
            held.extend(events)
            if len(held) >= ROW_GROUP:
                flush()

        yield write
        if held:
            flush()


@contextmanager
def comma_separated(file: IO[bytes]) -> Iterator[Write]:
    """Writes CSV (RFC 4180) in UTF-8 with a line of headings; no cell is a formula to a spreadsheet."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    rows = csv.writer(text)
    rows.writerow(COLUMNS)

    def write(events: Sequence[Event]) -> None:
        for event in events:
            rows.writerow([_cell(kind, read(event)) for kind, read in COLUMNS.values()])

    yield write
    text.detach()


def _cell(kind: str, value: Any) -> Any:
    if value is None:
        return ""
    if kind == "time":
        seconds, nanos = divmod(value, 10**9)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09}Z"
    if kind == "string" and value.startswith(_FORMULA):
        return f"'{value}"
    return value


@contextmanager
def json_lines(file: IO[bytes]) -> Iterator[Write]:
    """Writes one JSON object a line: the event, as the REST interface gives it."""

    def write(events: Sequence[Event]) -> None:
        for event in events:
            file.write(json.dumps(_plain(event), ensure_ascii=False).encode() + b"\n")

    yield write


WRITERS: Mapping[str, Callable[[IO[bytes]], AbstractContextManager[Write]]] = {
    "parquet": parquet,
    "csv": comma_separated,
    "jsonl": json_lines,
}
