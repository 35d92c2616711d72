"""Topics on Kafka as an operator sees them: created with their settings, compared with them, trimmed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove

from services.kernel.eventlog.kafka import LARGEST_EVENT_BYTES, REPLY_SECONDS, client_settings, connected, faults
from services.kernel.eventlog.topics import Topic

_DAY_MS = 24 * 60 * 60 * 1000
_MILLISECONDS = int(REPLY_SECONDS * 1000)


def settings_on_kafka(topic: Topic) -> Mapping[str, str]:
    """Returns what the topic's settings are called on Kafka, with their values."""
    kept = -1 if topic.retention_days is None else topic.retention_days * _DAY_MS
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(kept),
        "retention.bytes": "-1",
        # A day's file is closed, so that what is deleted leaves the disk even when little comes.
        "segment.ms": str(_DAY_MS),
        "max.message.bytes": str(LARGEST_EVENT_BYTES),
    }


def create(brokers: Sequence[str], topics: Sequence[Topic]) -> list[str]:
    """Creates the topics that are missing, returns their names, and leaves those that are there as they are.

    Replicas, and how many must have an event before it is confirmed, are the brokers' defaults.

    Raises:
        EventLogUnavailable
    """
    with _admin(brokers) as admin:
        there = set(admin.list_topics())
        missing = [topic for topic in topics if topic.name not in there]
        if missing:
            admin.create_topics(
                {
                    topic.name: {"num_partitions": topic.partitions, "configs": dict(settings_on_kafka(topic))}
                    for topic in missing
                },
                timeout_ms=_MILLISECONDS,
                raise_errors=False,  # another one may create them at the same moment
                wait_for_metadata=True,
            )
        return [topic.name for topic in missing]


def describe(brokers: Sequence[str], topics: Sequence[Topic]) -> Mapping[str, tuple[int, Mapping[str, str]]]:
    """Returns, for each of the topics that is there, its partitions and the settings that it should have as they are.

    Raises:
        EventLogUnavailable
    """
    with _admin(brokers) as admin:
        there = set(admin.list_topics())
        names = [topic.name for topic in topics if topic.name in there]
        if not names:
            return {}
        partitions = {each["name"]: len(each["partitions"]) for each in admin.describe_topics(names)}
        wanted = {topic.name: settings_on_kafka(topic) for topic in topics}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        found = admin.describe_configs(resources, config_filter="all")["topic"]
        return {
            name: (partitions[name], {key: str(found[name][key]["value"]) for key in wanted[name]}) for name in names
        }


def repair(brokers: Sequence[str], topics: Sequence[Topic]) -> None:
    """Gives the topics the settings and the partitions that they should have; partitions are only ever added.

    Raises:
        EventLogUnavailable
    """
    found = describe(brokers, topics)
    with _admin(brokers) as admin:
        for topic in topics:
            if topic.name not in found:
                continue
            partitions, settings = found[topic.name]
            if settings != settings_on_kafka(topic):
                resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, configs=dict(settings_on_kafka(topic)))
                admin.alter_configs([resource])
            if partitions < topic.partitions:
                admin.create_partitions({topic.name: topic.partitions}, timeout_ms=_MILLISECONDS)
    # A broker confirms before it knows itself.
    deadline = time.monotonic() + REPLY_SECONDS
    while time.monotonic() < deadline and not _as_wanted(describe(brokers, topics), topics):
        time.sleep(0.1)


def _as_wanted(found: Mapping[str, tuple[int, Mapping[str, str]]], topics: Sequence[Topic]) -> bool:
    return all(
        found[topic.name][0] >= topic.partitions and found[topic.name][1] == settings_on_kafka(topic)
        for topic in topics
        if topic.name in found
    )


def delete_before(brokers: Sequence[str], topic: str, offsets: Mapping[int, int]) -> None:
    """Deletes, in each partition given, what is before the offset. Raises EventLogUnavailable."""
    with _admin(brokers) as admin:
        admin.delete_records({TopicPartition(topic, n): before for n, before in offsets.items()}, _MILLISECONDS)


def remove_member(brokers: Sequence[str], group: str, member: str) -> None:
    """Takes a static member out of its group. Raises EventLogUnavailable."""
    with _admin(brokers) as admin:
        admin.remove_group_members(group, [MemberToRemove(group_instance_id=member)])


@contextmanager
def _admin(brokers: Sequence[str]) -> Iterator[Any]:
    with faults():
        admin = connected(KafkaAdminClient, **client_settings(brokers, "assay-topics"))
        try:
            yield admin
        finally:
            admin.close()
