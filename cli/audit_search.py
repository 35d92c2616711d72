"""Holds what a search of a live log finds against its entries: none hidden, none made up, none under another's name.

A search looks at columns that were taken from the records when they came. No hash covers them, because the records say
it all; so who changes them changes no record, but may hide one from who searches. Compared are the searches by tenant,
model, label and outcome. Those by what is personal are not: the verifier is not to go through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from assay.audit.v1 import audit_pb2
from assay.errors.v1 import errors_pb2

from cli.audit_reader import AuditReader
from services.audit.merkle.entries import read_content
from services.audit.merkle.hashing import leaf_hash
from services.audit.merkle.verification import Entry, Finding, RecordInvalid, State, Verdict, packed

_REASON_PREFIX = "ERROR_REASON_"


def compare_search(log: AuditReader, verdict: Verdict) -> Finding | None:
    """Returns the first event that a search shows and the log has not, or the other way round; None when there is none.

    The log goes on meanwhile: events come, and contents expire. So what differs is looked at once more.

    Raises:
        CallFailed: the server can't be asked.
        EntriesBroken: it says that its log is damaged.
    """
    hidden = dict(verdict.events)
    values: dict[str, set[str]] = {field: set() for field in _FIELDS}
    nameless: dict[str, set[bytes]] = {field: set() for field in _FIELDS}
    for event in log.events():
        key = packed(event.event_id)
        if hidden.pop(key, None) is None:
            if finding := _stranger(log, verdict, event.event_id):
                return finding
            continue
        for field, of in _FIELDS.items():
            if value := of(event):
                values[field].add(value)
            else:
                nameless[field].add(key)  # it can't be searched for by this
    if finding := _hidden(log, hidden, "a search"):
        return finding
    for field, of in _FIELDS.items():
        hidden = {key: index for key, index in verdict.events.items() if key not in nameless[field]}
        for value in sorted(values[field]):
            for event in log.events(**{field: value}):
                key = packed(event.event_id)
                hidden.pop(key, None)
                if key in verdict.events and of(event) != value:
                    return _at(verdict.events[key], f"a search by {field} shows it under another")
        if finding := _hidden(log, hidden, f"a search by {field}"):
            return finding
    return None


def _outcome(event: audit_pb2.AuditEvent) -> str:
    kind = event.WhichOneof("outcome") or ""
    if kind != "error":
        return kind
    known = event.error.reason in errors_pb2.ErrorReason.values() and event.error.reason
    return errors_pb2.ErrorReason.Name(event.error.reason).removeprefix(_REASON_PREFIX) if known else kind


_FIELDS: Mapping[str, Callable[[audit_pb2.AuditEvent], str]] = {
    "tenant": lambda event: event.tenant,
    "model": lambda event: event.model,
    "label": lambda event: event.answer.label,
    "outcome": _outcome,
}


def _stranger(log: AuditReader, verdict: Verdict, event_id: str) -> Finding | None:
    """Looks at an event that a search shows and that was not among the entries; None when it only came since."""
    if packed(event_id) in verdict.events:
        return _at(verdict.events[packed(event_id)], "a search shows it twice")
    index = log.place(event_id)
    if index is None:
        return _at(verdict.entries, f"a search shows event {event_id}, which is nowhere")
    if index < verdict.entries or not _is(log.entry(index), event_id):
        return _at(index, f"a search shows event {event_id} there, which the log does not have")
    return None


def _is(entry: Entry | None, event_id: str) -> bool:
    if entry is None or leaf_hash(entry.record) != entry.leaf_hash:
        return False
    try:
        return read_content(entry.record).event_id == event_id
    except RecordInvalid:
        return False


def _hidden(log: AuditReader, hidden: Mapping[bytes, int], by: str) -> Finding | None:
    for index in sorted(hidden.values()):
        entry = log.entry(index)
        if entry is not None and entry.state is State.PRESENT:
            return _at(index, f"{by} does not show it")
    return None


def _at(index: int, fault: str) -> Finding:
    return Finding(index, index + 1, fault)
