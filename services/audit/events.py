"""What the audit log keeps of an event, and how it is asked for events. Times are Unix nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from services.kernel.paging import Scalar


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event: the fields that it is looked up by, and the whole as it came from the event log, byte for byte."""

    event_id: str
    create_time: int
    caller: str
    request_id: str
    model: str
    event: bytes
    """Serialised assay.audit.v1.AuditEvent."""


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

    def filters(self) -> Mapping[str, Scalar]:
        """Returns what a page token is bound to."""
        return asdict(self)
