"""A review task as the service keeps it, and how it is asked for tasks. Times are Unix nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.kernel.paging import Scalar


class State(StrEnum):
    """Where a task stands; the values are what stores hold."""

    OPEN = "open"


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A doubtful answer that asks for a person: what a task is opened from."""

    task_id: str
    model: str
    industry: str
    request: bytes
    """Serialised assay.review.v1.ReviewRequested, as it came from the event log, byte for byte."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task for a person."""

    request: TaskRequest
    state: State
    create_time: int
    """When it was opened."""


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """Which tasks; None means all."""

    state: State | None = None
    model: str | None = None
    industry: str | None = None

    def filters(self) -> Mapping[str, Scalar]:
        """Returns what a page token is bound to."""
        return {"state": self.state, "model": self.model, "industry": self.industry}
