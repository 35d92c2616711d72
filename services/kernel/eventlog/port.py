"""The event log between the services: ordered topics, at least once, one cursor for each consumer group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

AUDIT_TOPIC = "assay.audit.v1"
REVIEW_TOPIC = "assay.review.v1"


class EventLogUnavailable(Exception):
    """The log can't be reached or did not confirm; what was asked may or may not have happened. Try again."""


@dataclass(frozen=True, slots=True)
class Event:
    """One message: a UUIDv7 as key, by which consumers recognise a repeat, and a serialised protobuf message."""

    key: str
    payload: bytes
    tries: int = 0
    """How often it was delivered before it became a dead letter and was put back; 0 where it never did."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event as a consumer got it. `position` names it to the log; `attempt` is 1 the first time it is delivered, and
    where the log does not count deliveries also the first time after a restart."""

    event: Event
    position: str
    attempt: int = 1


class Publisher(Protocol):
    async def publish(self, topic: str, events: Sequence[Event]) -> None:
        """Appends the events in order and returns when the log has confirmed every one.

        Raises:
            EventLogUnavailable: any of them may be missing or, on a retry, be there twice.
        """

    async def ping(self) -> None:
        """Returns when the log answers. Raises EventLogUnavailable when it does not."""

    async def close(self) -> None:
        """Lets go of connections; idempotent."""


class Subscription(Protocol):
    """One consumer of a group. Every event goes to one consumer of the group, again if it is not committed."""

    async def poll(self, limit: int, timeout_seconds: float) -> list[Delivery]:
        """Waits up to the timeout for events and returns at most `limit` of them, oldest first; empty on timeout.

        Events that a consumer took and never committed, because it died, are delivered again.

        Raises:
            EventLogUnavailable
        """

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        """Marks the deliveries as done; call it only after their effect is durable. Idempotent.

        Raises:
            EventLogUnavailable: they may come again.
        """

    async def lag(self) -> int:
        """Returns how many events of the topic the group has not committed yet.

        Raises:
            EventLogUnavailable
        """

    async def ping(self) -> None:
        """Returns when the log answers. Raises EventLogUnavailable when it does not."""

    async def close(self) -> None:
        """Lets go of connections; idempotent. What was not committed goes to the next consumer."""
