"""Every event log that the suite runs on, behind one way to make publishers and subscriptions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from services.kernel.eventlog.memory import MemoryLog
from services.kernel.eventlog.port import Publisher, Subscription
from services.kernel.eventlog.redis_streams import RedisPublisher, RedisSubscription
from services.kernel.identifiers import uuid7
from tests.fixtures.valkey import ValkeyServer, shared_valkey

__all__ = ["shared_valkey"]


class LogUnderTest(Protocol):
    """An event log and one topic on it that no other test uses."""

    topic: str

    def publisher(self) -> Publisher: ...

    def subscription(self, consumer: str, claim_idle_seconds: float = 30.0) -> Subscription: ...

    async def close(self) -> None: ...


class Memory:
    def __init__(self) -> None:
        self.topic = "topic"
        self._log = MemoryLog()

    def publisher(self) -> Publisher:
        return self._log.publisher()

    def subscription(self, consumer: str, claim_idle_seconds: float = 30.0) -> Subscription:
        return self._log.subscription(self.topic, "group", consumer, claim_idle_seconds=claim_idle_seconds)

    async def close(self) -> None:
        pass


class Streams:
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

    async def close(self) -> None:
        for opened in self._opened:
            await opened.close()


@pytest.fixture(params=["memory", "valkey"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[LogUnderTest]:
    made: LogUnderTest = Memory() if request.param == "memory" else Streams(request.getfixturevalue("shared_valkey"))
    yield made
    await made.close()
