"""Kafka over a real broker that is killed, restarted, stopped, deleted from and replaced by something that lies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from kafka import KafkaProducer

from services.kernel.eventlog import kafka as client
from services.kernel.eventlog import kafka_topics
from services.kernel.eventlog.kafka_publisher import KafkaPublisher
from services.kernel.eventlog.kafka_subscription import KafkaSubscription
from services.kernel.eventlog.port import Delivery, Event, EventLogUnavailable, Subscription
from services.kernel.eventlog.topics import TOPICS, Topic
from services.kernel.identifiers import uuid7
from tests.fixtures.kafka import KafkaServer
from tests.fixtures.publishing import publish_surely
from tests.integration.eventlog.delivery import TOPIC, deliver_over_kills, unavailable


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives a broker that hangs less time."""
    for module in ("kafka", "kafka_publisher", "kafka_subscription"):
        monkeypatch.setattr(f"services.kernel.eventlog.{module}.REPLY_SECONDS", 3.0)
        monkeypatch.setattr(f"services.kernel.eventlog.{module}.CONNECT_SECONDS", 2.0)


@asynccontextmanager
async def opened(brokers: list[str], topic: str = TOPIC) -> AsyncIterator[tuple[KafkaPublisher, KafkaSubscription]]:
    publisher = KafkaPublisher(brokers)
    subscription = KafkaSubscription(brokers, topic, "group", "a")
    try:
        yield publisher, subscription
    finally:
        await publisher.close()
        await subscription.close()


async def hold(subscription: Subscription, count: int) -> list[Delivery]:
    """Polls until `count` deliveries came."""
    held: list[Delivery] = []
    while len(held) < count:
        try:
            held += await subscription.poll(count - len(held), 1)
        except EventLogUnavailable:
            held.clear()  # it may have started over, and brings them again
    return held


async def take_surely(subscription: Subscription, wanted: set[str]) -> list[str]:
    """Polls and commits until every wanted key came; returns all that came."""
    got: list[str] = []
    while not wanted <= set(got):
        try:
            batch = await subscription.poll(50, 0.2)
            got += [delivery.event.key for delivery in batch]
            await subscription.commit(batch)
        except EventLogUnavailable:
            await asyncio.sleep(0.05)
    return got


@pytest.mark.usefixtures("quick")
async def test_nothing_is_lost_over_kill_9_and_restart(kafka: KafkaServer) -> None:
    kafka.create(TOPIC, partitions=3)
    async with opened(kafka.brokers) as (publisher, subscription):
        delivered = await deliver_over_kills(publisher, subscription, kafka.restart, (100, 200))
        assert delivered.confirmed <= set(delivered.done)
        assert delivered.failures > 0
        assert await subscription.lag() == 0


@pytest.mark.usefixtures("quick")
async def test_what_was_taken_before_a_restart_of_broker_and_consumer_comes_again(kafka: KafkaServer) -> None:
    kafka.create(TOPIC)
    sent = [Event(uuid7(), b"%d" % number) for number in range(4)]
    async with opened(kafka.brokers) as (publisher, subscription):
        for event in sent:
            await publish_surely(publisher, TOPIC, [event])
        # All of them: what is fetched already would come from a log that is away, too.
        held = await hold(subscription, 4)
        await subscription.commit(held[:1])
        kafka.kill()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: publisher.publish(TOPIC, [Event(uuid7(), b"no")]),
            lambda: subscription.poll(2, 0.1),
            lambda: subscription.commit(held[1:]),
            publisher.ping,
            subscription.ping,
            subscription.lag,
        ]
        for call in calls:
            with unavailable():
                await call()
    kafka.start()
    async with opened(kafka.brokers) as (_, subscription), asyncio.timeout(90):
        got = await take_surely(subscription, {event.key for event in sent[1:]})
        assert [key for key in got if key != sent[0].key][:3] == [event.key for event in sent[1:]]


@pytest.mark.usefixtures("quick")
async def test_a_broker_that_hangs_is_unavailable(kafka: KafkaServer) -> None:
    kafka.create(TOPIC)
    event = Event(uuid7(), b"once or twice")
    async with opened(kafka.brokers) as (publisher, subscription):
        await publisher.ping()
        await publish_surely(publisher, TOPIC, [Event(uuid7(), b"before")])
        held = await hold(subscription, 1)
        kafka.suspend()
        try:
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: publisher.publish(TOPIC, [event]),
                lambda: publisher.publish(TOPIC, [event]),
                lambda: subscription.poll(1, 0.05),
                lambda: subscription.commit(held),
                publisher.ping,
            ]
            for call in calls:
                async with asyncio.timeout(30):
                    with unavailable():
                        await call()
        finally:
            kafka.resume()
        async with asyncio.timeout(120):
            await publish_surely(publisher, TOPIC, [event])
            assert event.key in await take_surely(subscription, {event.key})


@pytest.mark.parametrize(
    "answer",
    [b"", b"\x00\x00\x00\x06\x00\x00\x00\x01\xff\xff", b"\x7f\xff\xff\xff" * 64, b"HTTP/1.1 200 OK\r\n\r\n" * 9],
)
@pytest.mark.usefixtures("quick")
async def test_what_is_no_broker_is_unavailable(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(answer)
            if not answer:
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened([f"127.0.0.1:{port}"]) as (publisher, subscription), asyncio.timeout(60):
        for call in (
            lambda: publisher.publish(TOPIC, [Event(uuid7(), b"")]),
            lambda: subscription.poll(1, 0.05),
            subscription.lag,
            publisher.ping,
        ):
            with unavailable():
                await call()


async def test_a_broker_that_answers_the_first_question_and_then_lies_is_unavailable(quick: None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(question := await reader.read(4096)) >= 12:
            writer.write(b"\x00\x00\x00\x20" + question[8:12] + b"\x00\x00" + b"\x00\x00\x00\x7f" * 6 + b"\x00\x00")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened([f"127.0.0.1:{port}"]) as (publisher, subscription), asyncio.timeout(90):
        await publisher.ping()
        with unavailable():
            await publisher.publish(TOPIC, [Event(uuid7(), b"")])
        with unavailable():
            await subscription.poll(1, 0.05)


async def test_a_topic_that_is_missing_is_unavailable_and_is_not_created(
    shared_kafka: KafkaServer, quick: None
) -> None:
    topic = f"missing.{uuid7()}"
    async with opened(shared_kafka.brokers, topic) as (publisher, subscription):
        with unavailable():
            await publisher.publish(topic, [Event(uuid7(), b"")])
        with pytest.raises(EventLogUnavailable, match="assay topics create"):
            await subscription.poll(1, 0.05)
        assert await asyncio.to_thread(kafka_topics.describe, shared_kafka.brokers, [Topic(topic)]) == {}
        await asyncio.to_thread(shared_kafka.create, topic)
        event = Event(uuid7(), b"now")
        async with asyncio.timeout(60):
            await publish_surely(publisher, topic, [event])
            assert await take_surely(subscription, {event.key}) == [event.key]


async def test_a_rebalance_loses_nothing(shared_kafka: KafkaServer) -> None:
    topic = f"topic.{uuid7()}"
    shared_kafka.create(topic, partitions=4)
    publisher = KafkaPublisher(shared_kafka.brokers)
    first = KafkaSubscription(shared_kafka.brokers, topic, "group", "a")
    second = KafkaSubscription(shared_kafka.brokers, topic, "group", "b")
    sent = [Event(uuid7(), b"") for _ in range(400)]
    keys = {event.key for event in sent}
    done: dict[str, int] = {}
    joined = asyncio.Event()

    async def consume(subscription: KafkaSubscription, name: str) -> None:
        while not keys <= set(done):
            try:
                batch = await subscription.poll(7, 0.1)
                for delivery in batch:
                    done[delivery.event.key] = done.get(delivery.event.key, 0) + 1
                if batch and name == "b":
                    joined.set()
                await subscription.commit(batch)
            except EventLogUnavailable:
                await asyncio.sleep(0.05)

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(consume(first, "a"))
        await publisher.publish(topic, sent[:100])
        group.create_task(consume(second, "b"))
        for start in range(100, 300, 10):
            await publisher.publish(topic, sent[start : start + 10])
            await asyncio.sleep(0.01)
        # The rest comes when the second has its share, so both take some of it.
        while not joined.is_set():
            await publisher.publish(topic, [Event(uuid7(), b"more") for _ in range(8)])
            await asyncio.sleep(0.05)
        await publisher.publish(topic, sent[300:])
    assert keys <= set(done)
    for each in (publisher, first, second):
        await each.close()


async def test_two_that_share_a_name_lose_nothing(shared_kafka: KafkaServer) -> None:
    topic = f"topic.{uuid7()}"
    shared_kafka.create(topic)
    publisher = KafkaPublisher(shared_kafka.brokers)
    twins = [KafkaSubscription(shared_kafka.brokers, topic, "group", "same") for _ in range(2)]
    sent = {uuid7() for _ in range(60)}
    got: set[str] = set()

    async def consume(subscription: KafkaSubscription) -> None:
        while not sent <= got:
            try:
                batch = await subscription.poll(5, 0.1)
                got.update(delivery.event.key for delivery in batch)
                await subscription.commit(batch)
            except EventLogUnavailable:
                await asyncio.sleep(0.2)

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for twin in twins:
            group.create_task(consume(twin))
        for key in sent:
            await publisher.publish(topic, [Event(key, b"")])
    for each in (publisher, *twins):
        await each.close()


async def test_foreign_records_do_not_stop_a_consumer(shared_kafka: KafkaServer) -> None:
    topic = f"topic.{uuid7()}"
    shared_kafka.create(topic)

    def write() -> None:
        producer = KafkaProducer(bootstrap_servers=shared_kafka.brokers)
        for key, value, headers in (
            (None, b"no key", []),
            (b"\xff", None, []),
            (b"k", b"v", [("assay-tries", b"many"), ("other", b"\xff")]),
        ):
            producer.send(topic, value=value, key=key, headers=headers).get(10)
        producer.close()

    await asyncio.to_thread(write)
    async with opened(shared_kafka.brokers, topic) as (_, subscription), asyncio.timeout(60):
        got: list[Event] = []
        while len(got) < 3:
            got += [delivery.event for delivery in await subscription.poll(10, 1)]
    assert got == [Event("", b"no key"), Event("\ufffd", b""), Event("k", b"v")]


async def test_an_event_that_is_too_large_is_refused_and_the_next_one_is_not(shared_kafka: KafkaServer) -> None:
    topic = f"topic.{uuid7()}"
    shared_kafka.create(topic)
    async with opened(shared_kafka.brokers, topic) as (publisher, subscription), asyncio.timeout(60):
        with unavailable():
            await publisher.publish(topic, [Event(uuid7(), b"x" * client.LARGEST_EVENT_BYTES)])
        event = Event(uuid7(), b"x" * 3_000_000)
        await publish_surely(publisher, topic, [event])
        assert event.key in await take_surely(subscription, {event.key})


async def test_what_is_committed_is_deleted(shared_kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.kernel.eventlog.kafka_subscription._TRIM_SECONDS", 0.1)
    topic = f"topic.{uuid7()}"
    shared_kafka.create(topic)
    async with opened(shared_kafka.brokers, topic) as (publisher, subscription), asyncio.timeout(60):
        await publisher.publish(topic, [Event(uuid7(), b"%d" % number) for number in range(10)])
        held = await hold(subscription, 10)
        await subscription.commit(held[:6])
        other = KafkaSubscription(shared_kafka.brokers, topic, "another", "b")
        while await other.lag() != 4:  # it would get what is left of the topic
            await asyncio.sleep(0.05)
        await other.close()


async def test_topics_are_created_once_compared_and_repaired(kafka: KafkaServer) -> None:
    brokers = kafka.brokers
    assert set(kafka_topics.create(brokers, TOPICS)) == {topic.name for topic in TOPICS}
    assert kafka_topics.create(brokers, TOPICS) == []
    for topic in TOPICS:
        found = kafka_topics.describe(brokers, [topic])[topic.name]
        assert found == (topic.partitions, kafka_topics.settings_on_kafka(topic))
    wanted = Topic(TOPICS[1].name, partitions=2, retention_days=9)
    kafka_topics.repair(brokers, [wanted, Topic("not there")])
    while (found := kafka_topics.describe(brokers, [wanted])[wanted.name]) != (
        2,
        kafka_topics.settings_on_kafka(wanted),
    ):  # the brokers tell one another; the test's own limit ends a wait in vain
        await asyncio.sleep(0.1)
    assert found[0] == 2
