"""Which event log a URL names. The setting of every service that publishes or consumes is ASSAY_EVENT_LOG:

    redis://host:port/db            Redis Streams on Valkey or Redis; rediss:// with TLS
    kafka://host:port,host:port     Kafka; the brokers to ask first

An adapter is imported when it is asked for, so that nobody waits for the library of the other one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kernel.eventlog.port import Publisher, Subscription
from services.kernel.eventlog.topics import DEAD_LETTER_GROUP, dead

if TYPE_CHECKING:
    from services.kernel.eventlog.deadletters import DeadLetters

FORMS = "redis://host:port/db or kafka://host:port,host:port"


def require_known(url: str) -> None:
    """Raises ValueError unless the URL names an event log; the text quotes nothing of it: it may hold a password."""
    is_kafka(url)


def is_kafka(url: str) -> bool:
    """Whether the URL names Kafka rather than Redis Streams. Raises ValueError where it names neither."""
    scheme, separator, rest = url.partition("://")
    if not separator or not rest or scheme not in ("redis", "rediss", "kafka"):
        raise ValueError(f"ASSAY_EVENT_LOG does not name an event log; it must be {FORMS}")
    if scheme == "kafka":
        brokers(url)
    return scheme == "kafka"


def brokers(url: str) -> list[str]:
    """Returns the host:port of each broker of a kafka:// URL. Raises ValueError where one is malformed."""
    found = [broker.strip() for broker in url.removeprefix("kafka://").rstrip("/").split(",")]
    for broker in found:
        host, _, port = broker.rpartition(":")
        if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536 or "@" in broker:
            raise ValueError(f"ASSAY_EVENT_LOG names a broker that is not host:port; it must be {FORMS}")
    return found


def publisher(url: str) -> Publisher:
    """Returns a publisher onto the log; it connects when it is first used. Raises ValueError for a URL of no log."""
    if is_kafka(url):
        from services.kernel.eventlog.kafka_publisher import KafkaPublisher

        return KafkaPublisher(brokers(url))
    from services.kernel.eventlog.redis_streams import RedisPublisher

    return RedisPublisher(url)


def subscription(url: str, topic: str, group: str, consumer: str) -> Subscription:
    """Returns one consumer of a group; it connects when it is first used. Raises ValueError for a URL of no log.

    `consumer` is a name that stays the same over restarts of an instance and differs between instances.
    """
    if is_kafka(url):
        from services.kernel.eventlog.kafka_subscription import KafkaSubscription

        return KafkaSubscription(brokers(url), topic, group, consumer)
    from services.kernel.eventlog.redis_streams import RedisSubscription

    return RedisSubscription(url, topic, group, consumer)


def dead_letters(url: str, topic: str, reader: str) -> DeadLetters:
    """Returns a topic's dead letters; `reader` is what `consumer` is to a subscription. Raises ValueError likewise."""
    from services.kernel.eventlog.deadletters import DeadLetters

    return DeadLetters(topic, publisher(url), subscription(url, dead(topic), DEAD_LETTER_GROUP, reader))
