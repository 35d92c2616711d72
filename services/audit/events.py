"""What the audit log takes and gives, and how it is asked for events. Times are Unix nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum

from services.kernel.paging import Scalar

SCHEMA = 1
"""The newest layout of an event that this program knows."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as it came from the event log, and the fields that it is looked up by."""

    event_id: str
    create_time: int
    payload: bytes
    """Serialised assay.audit.v1.AuditEvent."""

    tenant: str = ""
    caller: str = ""
    subject: str = ""
    request_id: str = ""
    model: str = ""
    label: str = ""
    outcome: str = ""
    """"answer", "error" or "action"."""

    reason: str = ""
    """The error's, by name; empty without one."""

    confidence: float | None = None

    @property
    def person(self) -> str:
        """Whom the event is about, inside its tenant: the subject if there is one, else the caller."""
        return f"subject {self.subject}" if self.subject else f"caller {self.caller}"


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event that the log holds."""

    index: int
    """Its place in the log, from 0."""

    event_id: str
    create_time: int
    event: bytes
    """Serialised assay.audit.v1.AuditEvent; without what is personal once its person was erased."""


class State(IntEnum):
    """Where an entry's content is; the values of assay.audit.v1.EntryState."""

    PRESENT = 1
    EXPIRED = 2
    ARCHIVED = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it is stored."""

    index: int
    leaf_hash: bytes
    record: bytes
    """Serialised assay.audit.v1.AuditRecord; empty where the content is not here, or was not asked for."""

    state: State


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events; None means all."""

    caller: str | None = None
    request_id: str | None = None
    model: str | None = None
    start: int | None = None
    """At or after."""

    end: int | None = None
    """Before."""

    tenant: str | None = None
    subject: str | None = None
    label: str | None = None
    outcome: str | None = None
    reason: str | None = None
    min_confidence: float | None = None
    """At least."""

    max_confidence: float | None = None
    """Below."""

    def filters(self) -> Mapping[str, Scalar]:
        """Returns what a page token is bound to."""
        return asdict(self)
