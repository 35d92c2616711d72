"""Redis Streams over a real Valkey that is killed, restarted, emptied, filled and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from services.kernel.eventlog import redis_streams
from services.kernel.eventlog.port import Event
from services.kernel.eventlog.redis_streams import RedisPublisher, RedisSubscription, SecondGroup
from services.kernel.eventlog.topics import Topic
from services.kernel.identifiers import uuid7
from tests.fixtures.publishing import publish_surely
from tests.fixtures.valkey import ValkeyServer
from tests.integration.eventlog.delivery import TOPIC, deliver_over_kills, unavailable


async def test_nothing_is_lost_over_kill_9_and_restart(valkey: ValkeyServer) -> None:
    publisher = RedisPublisher(valkey.url)
    subscription = RedisSubscription(valkey.url, TOPIC, "group", "a")
    delivered = await deliver_over_kills(publisher, subscription, valkey.restart, (80, 160, 240))
    assert delivered.confirmed == set(delivered.done)
    assert delivered.failures > 0
    async with Redis.from_url(valkey.url) as redis:
        assert await redis.xlen(TOPIC) == 0, "what is committed takes no memory"
    await publisher.close()
    await subscription.close()


async def test_what_was_taken_before_a_restart_comes_again(valkey: ValkeyServer) -> None:
    publisher = RedisPublisher(valkey.url)
    subscription = RedisSubscription(valkey.url, TOPIC, "group", "a")
    await publisher.publish(TOPIC, [Event(uuid7(), b"%d" % number) for number in range(4)])
    held = await subscription.poll(2, 5)
    await subscription.commit(held[:1])
    valkey.kill()
    with unavailable():
        await publisher.publish(TOPIC, [Event(uuid7(), b"no")])
    with unavailable():
        await subscription.poll(2, 0.1)
    with unavailable():
        await subscription.commit(held[1:])
    with unavailable():
        await publisher.ping()
    with unavailable():
        await subscription.ping()
    valkey.start()
    await subscription.ping()
    got = await subscription.poll(10, 5)
    assert [(delivery.event.payload, delivery.attempt) for delivery in got] == [(b"1", 2)]
    got = await subscription.poll(10, 5)
    assert [(delivery.event.payload, delivery.attempt) for delivery in got] == [(b"2", 1), (b"3", 1)]
    await publisher.close()
    await subscription.close()


async def test_torn_end_of_the_append_only_file_is_cut(valkey: ValkeyServer) -> None:
    publisher = RedisPublisher(valkey.url)
    for number in range(3):
        await publisher.publish(TOPIC, [Event(uuid7(), b"%d" % number)])
    valkey.kill()
    [tail] = valkey.folder.glob("appendonlydir/*.incr.aof")
    with tail.open("ab") as file:
        file.write(b"*5\r\n$4\r\nXADD\r\n$13\r\nassay")
    valkey.start()
    subscription = RedisSubscription(valkey.url, TOPIC, "group", "a")
    assert [delivery.event.payload for delivery in await subscription.poll(10, 5)] == [b"0", b"1", b"2"]
    await publisher.close()
    await subscription.close()


async def test_group_is_made_again_when_the_server_lost_it(valkey: ValkeyServer) -> None:
    publisher = RedisPublisher(valkey.url)
    subscription = RedisSubscription(valkey.url, TOPIC, "group", "a")
    assert await subscription.poll(1, 0.01) == []
    waiting = asyncio.create_task(subscription.poll(1, 10))
    await asyncio.sleep(0.1)
    async with Redis.from_url(valkey.url) as redis:
        await redis.flushall()
    await publisher.publish(TOPIC, [Event(uuid7(), b"after")])
    async with asyncio.timeout(15):
        [delivery] = await waiting
        async with Redis.from_url(valkey.url) as redis:
            await redis.flushall()
        await subscription.commit([delivery])
        await publisher.publish(TOPIC, [Event(uuid7(), b"again")])
        [delivery] = await subscription.poll(1, 10)
    assert delivery.event.payload == b"again"
    await publisher.close()
    await subscription.close()


async def test_full_server_refuses_events_and_still_gives_out_what_it_has(valkey: ValkeyServer) -> None:
    publisher = RedisPublisher(valkey.url)
    subscription = RedisSubscription(valkey.url, TOPIC, "group", "a")
    await publisher.publish(TOPIC, [Event(uuid7(), b"kept")])
    assert await subscription.poll(1, 0.01)
    async with Redis.from_url(valkey.url) as redis:
        await redis.config_set("maxmemory", 1)
        with unavailable():
            await publisher.publish(TOPIC, [Event(uuid7(), b"1"), Event(uuid7(), b"2")])
        after_restart = RedisSubscription(valkey.url, TOPIC, "group", "a")
        [delivery] = await after_restart.poll(10, 5)
        assert delivery.event.payload == b"kept"
        await after_restart.commit([delivery])
        await redis.config_set("maxmemory", 0)
        assert await redis.xlen(TOPIC) == 0, "no part of a refused publish may stay"
    for opened in (publisher, subscription, after_restart):
        await opened.close()


async def test_a_server_that_hangs_is_unavailable(valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_streams, "_REPLY_SECONDS", 0.2)
    publisher = RedisPublisher(valkey.url)
    subscription = RedisSubscription(valkey.url, TOPIC, "group", "a")
    event = Event(uuid7(), b"once or twice")
    await publisher.ping()
    valkey.suspend()
    try:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: publisher.publish(TOPIC, [event]),
            lambda: subscription.poll(1, 0.05),
            publisher.ping,
        ]
        for call in calls:
            with unavailable():
                await call()
    finally:
        valkey.resume()
    monkeypatch.setattr(redis_streams, "_REPLY_SECONDS", 5.0)
    await publish_surely(publisher, TOPIC, [event])
    assert (await subscription.poll(10, 5))[0].event == event
    await publisher.close()
    await subscription.close()


async def test_a_key_of_another_kind_is_unavailable(shared_valkey: ValkeyServer) -> None:
    topic = f"taken.{uuid7()}"
    async with Redis.from_url(shared_valkey.url) as redis:
        await redis.set(topic, "a string")
    publisher = RedisPublisher(shared_valkey.url)
    subscription = RedisSubscription(shared_valkey.url, topic, "group", "a")
    with unavailable():
        await publisher.publish(topic, [Event(uuid7(), b"")])
    with unavailable():
        await subscription.poll(1, 0.01)
    await publisher.close()
    await subscription.close()


async def test_a_second_group_is_refused(shared_valkey: ValkeyServer) -> None:
    topic = f"topic.{uuid7()}"
    first = RedisSubscription(shared_valkey.url, topic, "first", "a")
    second = RedisSubscription(shared_valkey.url, topic, "second", "a")
    await first.poll(1, 0.01)
    with pytest.raises(SecondGroup):
        await second.poll(1, 0.01)
    await first.close()
    await second.close()


async def test_foreign_and_deleted_entries_do_not_stop_a_consumer(shared_valkey: ValkeyServer) -> None:
    topic = f"topic.{uuid7()}"
    subscription = RedisSubscription(shared_valkey.url, topic, "group", "a")
    await subscription.poll(1, 0.01)
    async with Redis.from_url(shared_valkey.url) as redis:
        await redis.xadd(topic, {"something": "else"})
        await redis.xadd(topic, {"key": b"\xff", "payload": b"p"})
        deleted = await redis.xadd(topic, {"key": "deleted", "payload": b"p"})
        got = await subscription.poll(10, 5)
        assert [delivery.event for delivery in got[:2]] == [Event("", b""), Event("\ufffd", b"p")]
        await redis.xdel(topic, deleted)
        again = RedisSubscription(shared_valkey.url, topic, "group", "a")
        assert len(await again.poll(10, 5)) == 2
        assert (await redis.xpending(topic, "group"))["pending"] == 2
    await subscription.close()
    await again.close()


async def test_a_topic_that_nobody_consumes_keeps_its_newest_entries(
    shared_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"topic.{uuid7()}"
    monkeypatch.setattr(redis_streams, "settings_of", lambda name: Topic(name, entries_kept=3))
    publisher = RedisPublisher(shared_valkey.url)
    await publisher.publish(topic, [Event(str(number), b"") for number in range(5)])
    await publisher.publish(topic, [Event("5", b"")])
    async with Redis.from_url(shared_valkey.url) as redis:
        assert [fields[b"key"] for _, fields in await redis.xrange(topic)] == [b"3", b"4", b"5"]
    await publisher.close()
