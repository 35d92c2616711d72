"""The topics of the event log and how each is kept. `assay topics` creates them; services only use them."""

from __future__ import annotations

from dataclasses import dataclass

from services.kernel.eventlog.port import AUDIT_TOPIC, REVIEW_TOPIC

CHECKPOINT_TOPIC = "assay.audit.checkpoints.v1"
"""Signed checkpoints of the audit log; key: the tree's size in decimal, payload: the signed note."""
DEAD_LETTER_GROUP = "deadletters"
"""Whoever looks through dead letters, `assay deadletters` for one."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its settings."""

    name: str
    group: str = ""
    """The one consumer group; empty: nobody consumes it all the time."""

    partitions: int = 1
    """As many consumers of a group can share the work, and order holds inside one. Redis Streams has no partitions."""

    entries_kept: int | None = None
    """How many of the newest are kept where nobody consumes the topic; None: each until it is consumed."""

    retention_days: int | None = None
    """How long Kafka keeps an entry; None: until it is consumed, however long that takes."""


def dead(topic: str) -> str:
    """Returns the name of a topic's dead-letter topic; its payloads are assay.events.v1.DeadLetter."""
    return f"{topic}.dead"


TOPICS: tuple[Topic, ...] = (
    Topic(AUDIT_TOPIC, "audit", partitions=3),
    Topic(dead(AUDIT_TOPIC), DEAD_LETTER_GROUP),
    Topic(REVIEW_TOPIC, "review", partitions=3),
    Topic(dead(REVIEW_TOPIC), DEAD_LETTER_GROUP),
    Topic(CHECKPOINT_TOPIC, entries_kept=10_000, retention_days=365),
)
_BY_NAME = {topic.name: topic for topic in TOPICS}


def settings_of(name: str) -> Topic:
    """Returns a topic's settings; those of a topic that is not listed are the defaults."""
    return _BY_NAME.get(name) or Topic(name)
