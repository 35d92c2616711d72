"""Every event log that the suite runs on, behind one way to make publishers and subscriptions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from services.kernel.eventlog.kafka_publisher import KafkaPublisher
from services.kernel.eventlog.kafka_subscription import KafkaSubscription
from services.kernel.eventlog.memory import MemoryLog
from services.kernel.eventlog.port import Publisher, Subscription
from services.kernel.eventlog.redis_streams import RedisPublisher, RedisSubscription
from services.kernel.eventlog.topics import DEAD_LETTER_GROUP, dead
from services.kernel.identifiers import uuid7
from tests.fixtures.kafka import KafkaServer, shared_kafka
from tests.fixtures.valkey import ValkeyServer, shared_valkey

__all__ = ["shared_kafka", "shared_valkey"]


class LogUnderTest(Protocol):
    """An event log and one topic on it that no other test uses."""

    topic: str
    counts_deliveries: bool
    """Whether the log itself knows how often it delivered an event."""
    takes_from_the_living: bool
    """Whether an event that a living consumer holds for too long goes to another."""
    shortest_claim_seconds: float
    """The shortest time after which what a dead consumer held goes to another."""

    def spread(self) -> None:
        """Lets the topic be shared by two consumers, for which its order may be given up; call it first."""

    def publisher(self) -> Publisher: ...

    def subscription(self, consumer: str, claim_idle_seconds: float = 30.0) -> Subscription: ...

    def topic_of_letters(self) -> None:
        """Makes room for the topic's dead letters."""

    def letters(self, consumer: str) -> Subscription:
        """Returns a subscription to the topic's dead letters."""

    async def close(self) -> None: ...


class Memory:
    counts_deliveries = takes_from_the_living = True
    shortest_claim_seconds = 0.05

    def spread(self) -> None:
        pass

    def __init__(self) -> None:
        self.topic = "topic"
        self._log = MemoryLog()

    def publisher(self) -> Publisher:
        return self._log.publisher()

    def subscription(self, consumer: str, claim_idle_seconds: float = 30.0) -> Subscription:
        return self._log.subscription(self.topic, "group", consumer, claim_idle_seconds=claim_idle_seconds)

    def topic_of_letters(self) -> None:
        pass

    def letters(self, consumer: str) -> Subscription:
        return self._log.subscription(dead(self.topic), DEAD_LETTER_GROUP, consumer)

    async def close(self) -> None:
        pass


class Streams:
    counts_deliveries = takes_from_the_living = True
    shortest_claim_seconds = 0.05

    def spread(self) -> None:
        pass

    def __init__(self, server: ValkeyServer) -> None:
        self.topic = f"topic.{uuid7()}"
        self._url = server.url
        self._opened: list[Publisher | Subscription] = []

    def publisher(self) -> Publisher:
        publisher = RedisPublisher(self._url)
        self._opened.append(publisher)
        return publisher

    def subscription(self, consumer: str, claim_idle_seconds: float = 30.0) -> Subscription:
        subscription = RedisSubscription(
            self._url, self.topic, "group", consumer, claim_idle_seconds=claim_idle_seconds
        )
        self._opened.append(subscription)
        return subscription

    def topic_of_letters(self) -> None:
        pass

    def letters(self, consumer: str) -> Subscription:
        subscription = RedisSubscription(self._url, dead(self.topic), DEAD_LETTER_GROUP, consumer)
        self._opened.append(subscription)
        return subscription

    async def close(self) -> None:
        for opened in self._opened:
            await opened.close()


class Partitions:
    counts_deliveries = takes_from_the_living = False
    shortest_claim_seconds = 3.0

    def __init__(self, server: KafkaServer) -> None:
        self.topic = f"topic.{uuid7()}"
        self._server = server
        self._server.create(self.topic)
        self._opened: list[Publisher | Subscription] = []

    def spread(self) -> None:
        self.topic = f"{self.topic}.spread"
        self._server.create(self.topic, partitions=4)

    def publisher(self) -> Publisher:
        publisher = KafkaPublisher(self._server.brokers)
        self._opened.append(publisher)
        return publisher

    def subscription(self, consumer: str, claim_idle_seconds: float = 30.0) -> Subscription:
        idle = max(claim_idle_seconds, self.shortest_claim_seconds)
        subscription = KafkaSubscription(self._server.brokers, self.topic, "group", consumer, claim_idle_seconds=idle)
        self._opened.append(subscription)
        return subscription

    def topic_of_letters(self) -> None:
        self._server.create(dead(self.topic))

    def letters(self, consumer: str) -> Subscription:
        subscription = KafkaSubscription(self._server.brokers, dead(self.topic), DEAD_LETTER_GROUP, consumer)
        self._opened.append(subscription)
        return subscription

    async def close(self) -> None:
        for opened in self._opened:
            await opened.close()


@pytest.fixture(params=["memory", "valkey", "kafka"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[LogUnderTest]:
    made: LogUnderTest
    match request.param:
        case "memory":
            made = Memory()
        case "valkey":
            made = Streams(request.getfixturevalue("shared_valkey"))
        case _:
            made = Partitions(request.getfixturevalue("shared_kafka"))
    yield made
    await made.close()
