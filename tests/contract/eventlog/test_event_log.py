"""What every event log promises, run on the one in memory, on Redis Streams over a real Valkey and on a real Kafka."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from services.kernel.eventlog.port import Delivery, Event, Subscription
from services.kernel.identifiers import uuid7

if TYPE_CHECKING:
    from tests.contract.eventlog.conftest import LogUnderTest

_SOON = 0.05
_LONG = 10.0


def events(count: int, start: int = 0) -> list[Event]:
    return [Event(uuid7(), b"%d" % number) for number in range(start, start + count)]


def payloads(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.event.payload for delivery in deliveries]


async def drain(subscription: Subscription, count: int, *, commit: bool = True) -> list[Delivery]:
    """Polls until `count` deliveries came."""
    got: list[Delivery] = []
    async with asyncio.timeout(30):
        while len(got) < count:
            batch = await subscription.poll(7, _SOON)
            if commit:
                await subscription.commit(batch)
            got += batch
    return got


async def test_events_come_in_the_order_of_publishing(log: LogUnderTest) -> None:
    publisher, subscription = log.publisher(), log.subscription("a")
    sent = events(50)
    for start in (0, 1, 20):
        await publisher.publish(log.topic, sent[start : {0: 1, 1: 20, 20: 50}[start]])
    got = await drain(subscription, 50)
    assert [delivery.event for delivery in got] == sent
    assert {delivery.attempt for delivery in got} == {1}
    assert await subscription.poll(10, _SOON) == []


async def test_poll_returns_at_most_the_limit_and_goes_on_without_commit(log: LogUnderTest) -> None:
    await log.publisher().publish(log.topic, events(5))
    subscription = log.subscription("a")
    assert payloads(await subscription.poll(2, _LONG)) == [b"0", b"1"]
    assert payloads(await subscription.poll(2, _LONG)) == [b"2", b"3"]
    assert payloads(await subscription.poll(2, _LONG)) == [b"4"]


async def test_publishing_nothing_is_nothing(log: LogUnderTest) -> None:
    await log.publisher().publish(log.topic, [])
    assert await log.subscription("a").poll(10, _SOON) == []


@pytest.mark.parametrize("payload", [b"", b"\x00\xff\r\n$-1", b"x" * 1_000_000], ids=["empty", "binary", "large"])
async def test_payload_comes_back_as_it_was(log: LogUnderTest, payload: bytes) -> None:
    event = Event(uuid7(), payload)
    await log.publisher().publish(log.topic, [event])
    [delivery] = await log.subscription("a").poll(10, _LONG)
    assert delivery.event == event


async def test_poll_wakes_up_when_an_event_arrives(log: LogUnderTest) -> None:
    subscription = log.subscription("a")
    waiting = asyncio.create_task(subscription.poll(10, _LONG))
    await asyncio.sleep(0.1)
    await log.publisher().publish(log.topic, events(1))
    async with asyncio.timeout(5):
        assert payloads(await waiting) == [b"0"]


async def test_what_was_not_committed_comes_again_to_the_same_name(log: LogUnderTest) -> None:
    await log.publisher().publish(log.topic, events(20))
    dead = log.subscription("a")
    first = await dead.poll(12, _LONG)
    await dead.commit(first[:5])
    await dead.close()
    got = await drain(log.subscription("a"), 15)
    assert payloads(got) == [b"%d" % number for number in range(5, 20)]
    again = 2 if log.counts_deliveries else 1
    assert [delivery.attempt for delivery in got] == [again] * 7 + [1] * 8


async def test_what_a_dead_consumer_left_goes_to_another(log: LogUnderTest) -> None:
    await log.publisher().publish(log.topic, events(20))
    dead = log.subscription("a", log.shortest_claim_seconds)
    assert len(await dead.poll(20, _LONG)) == 20
    await dead.close()
    got = await drain(log.subscription("b", log.shortest_claim_seconds), 20)
    assert payloads(got) == [b"%d" % number for number in range(20)]
    assert {delivery.attempt for delivery in got} == {2 if log.counts_deliveries else 1}


async def test_what_a_living_consumer_holds_is_left_to_it(log: LogUnderTest) -> None:
    await log.publisher().publish(log.topic, events(3))
    alive, other = log.subscription("a"), log.subscription("b")
    held = await alive.poll(10, _LONG)
    assert await other.poll(10, 0.2) == []
    await alive.commit(held)


async def test_commit_is_idempotent_and_final(log: LogUnderTest) -> None:
    await log.publisher().publish(log.topic, events(3))
    subscription = log.subscription("a")
    held = await subscription.poll(10, _LONG)
    await subscription.commit([])
    await subscription.commit(held)
    await subscription.commit(held)
    for name in ("a", "b"):
        assert await log.subscription(name, claim_idle_seconds=0.0).poll(10, _SOON) == []


async def test_commit_of_what_another_took_over_is_no_harm(log: LogUnderTest) -> None:
    await log.publisher().publish(log.topic, events(2))
    slow, quick = log.subscription("a"), log.subscription("b", claim_idle_seconds=0.01)
    held = await slow.poll(10, _LONG)
    await asyncio.sleep(0.05)
    if log.takes_from_the_living:
        assert payloads(await quick.poll(10, _LONG)) == payloads(held)
    await slow.commit(held)
    assert await log.subscription("b").poll(10, _SOON) == []


async def test_a_consumer_that_works_for_long_keeps_its_place(log: LogUnderTest) -> None:
    await log.publisher().publish(log.topic, events(4))
    subscription = log.subscription("a", log.shortest_claim_seconds)
    held = await subscription.poll(2, _LONG)
    await asyncio.sleep(2 * log.shortest_claim_seconds)  # what a store that is away costs; it is what is tested
    await subscription.commit(held)
    assert payloads(await drain(subscription, 2)) == [b"2", b"3"]


async def test_only_what_is_done_without_a_gap_is_final(log: LogUnderTest) -> None:
    await log.publisher().publish(log.topic, events(6))
    dead = log.subscription("a")
    held = await dead.poll(6, _LONG)
    await dead.commit(held[3:])
    await dead.commit(held[:2])
    await dead.close()
    got = payloads(await drain(log.subscription("a"), 1))
    assert got[0] == b"2", "what was not committed comes again; behind it may come what was"


async def test_lag_counts_what_is_not_committed(log: LogUnderTest) -> None:
    publisher, subscription = log.publisher(), log.subscription("a")
    assert await subscription.lag() == 0
    await publisher.publish(log.topic, events(5))
    assert await subscription.lag() == 5
    held = await subscription.poll(3, _LONG)
    assert await subscription.lag() == 5
    await subscription.commit(held)
    assert await subscription.lag() == 2


async def test_two_consumers_share_a_group(log: LogUnderTest) -> None:
    log.spread()
    publisher, consumers = log.publisher(), [log.subscription("a"), log.subscription("b")]
    got: list[list[bytes]] = [[], []]
    sent = 0
    finished = asyncio.Event()

    async def consume(index: int) -> None:
        while not finished.is_set():
            batch = await consumers[index].poll(3, _SOON)
            await consumers[index].commit(batch)
            got[index] += payloads(batch)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(consume(0))
        group.create_task(consume(1))
        while sent < 200 or not (got[0] and got[1]):
            await publisher.publish(log.topic, events(10, sent))
            sent += 10
            await asyncio.sleep(0.005)
        while len(set(got[0] + got[1])) < sent:  # the count is what is waited for
            await asyncio.sleep(0.01)
        finished.set()
    assert set(got[0] + got[1]) == {b"%d" % number for number in range(sent)}


async def test_cancelled_polls_lose_nothing(log: LogUnderTest) -> None:
    publisher, subscription = log.publisher(), log.subscription("a")
    got: list[bytes] = []
    for number in range(30):
        poll = asyncio.create_task(subscription.poll(10, 0.2))
        publishing = asyncio.create_task(publisher.publish(log.topic, events(1, number)))
        await asyncio.sleep(random.Random(number).uniform(0, 0.004))
        poll.cancel()
        await publishing
        [outcome] = await asyncio.gather(poll, return_exceptions=True)
        if isinstance(outcome, list):
            await subscription.commit(outcome)
            got += payloads(outcome)
    async with asyncio.timeout(30):
        while len(set(got)) < 30:
            batch = await subscription.poll(10, _SOON)
            await subscription.commit(batch)
            got += payloads(batch)


@pytest.mark.parametrize("seed", range(3))
async def test_consumers_that_die_at_random_lose_nothing(log: LogUnderTest, seed: int) -> None:
    chance = random.Random(seed)
    publisher = log.publisher()
    done: list[bytes] = []
    claim = min(0.02, log.shortest_claim_seconds)
    alive = {name: log.subscription(name, claim) for name in ("a", "b")}
    sent = 0
    async with asyncio.timeout(150):
        while sent < 120 or len(set(done)) < 120:
            if sent < 120 and chance.random() < 0.4:
                count = min(chance.randint(1, 9), 120 - sent)
                await publisher.publish(log.topic, events(count, sent))
                sent += count
            name = chance.choice("ab")
            batch = await alive[name].poll(chance.randint(1, 10), 0.01)
            if chance.random() < 0.3:
                await alive[name].close()
                alive[name] = log.subscription(name, claim)
            else:
                await alive[name].commit(batch)
                done += payloads(batch)
    assert set(done) == {b"%d" % number for number in range(120)}


async def test_ping_answers_and_close_is_idempotent(log: LogUnderTest) -> None:
    publisher, subscription = log.publisher(), log.subscription("a")
    await publisher.ping()
    await subscription.ping()
    for opened in (publisher, subscription):
        await opened.close()
        await opened.close()


async def test_tries_come_back_as_they_were(log: LogUnderTest) -> None:
    sent = [Event(uuid7(), b"a"), Event(uuid7(), b"b", 3)]
    await log.publisher().publish(log.topic, sent)
    assert [delivery.event for delivery in await drain(log.subscription("a"), 2)] == sent
