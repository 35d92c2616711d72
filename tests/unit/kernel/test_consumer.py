from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from assay.events.v1 import events_pb2
from prometheus_client import CollectorRegistry, generate_latest

from services.kernel.allowance import Allowance
from services.kernel.consumer import Consumer, ConsumerPace, Obstacle, Outcome
from services.kernel.eventlog.deadletters import DeadLetters
from services.kernel.eventlog.memory import MemoryLog
from services.kernel.eventlog.port import Event, EventLogUnavailable
from services.kernel.eventlog.topics import DEAD_LETTER_GROUP, dead
from services.kernel.stores import Refused, Stored
from tests.fixtures.stores import MemorySink

TOPIC = "assay.test.v1"
PACE = ConsumerPace(batch=10, poll=0.01, first_pause=0.001, longest_pause=0.004, watch=0.005)
Pair = tuple[str, bytes]


def parse(event: Event) -> Pair:
    if event.payload == b"poison":
        raise Refused("poison")
    if event.payload == b"bug":
        raise KeyError("text of the caller")
    return event.key, event.payload


def sink() -> MemorySink[Pair]:
    return MemorySink(lambda pair: pair[0], lambda pair: pair[1] == b"refused")


def dead_letters(log: MemoryLog) -> DeadLetters:
    return DeadLetters(TOPIC, log.publisher(), log.subscription(dead(TOPIC), DEAD_LETTER_GROUP, "test"))


def consumer(
    log: MemoryLog, into: MemorySink[Pair], name: str = "a", allowance: Allowance | None = None
) -> Consumer[Pair]:
    subscription = log.subscription(TOPIC, "group", name, claim_idle_seconds=0.02)
    return Consumer("group", subscription, dead_letters(log), parse, into, PACE, allowance)


def letters(log: MemoryLog) -> list[events_pb2.DeadLetter]:
    return [events_pb2.DeadLetter.FromString(event.payload) for event in log.events(dead(TOPIC))]


@asynccontextmanager
async def running(looping: Consumer[Pair]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(looping.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # what is waited for is state, and has no event
            await asyncio.sleep(0.002)


def counted(looping: Consumer[Pair]) -> tuple[int, int, int]:
    ends = looping.outcomes
    return ends[Outcome.STORED], ends[Outcome.REPEATED], ends[Outcome.DEAD_LETTERED]


async def publish(log: MemoryLog, pairs: Sequence[Pair]) -> None:
    await log.publisher().publish(TOPIC, [Event(key, payload) for key, payload in pairs])


async def test_events_are_stored_and_committed() -> None:
    log, into = MemoryLog(), sink()
    await publish(log, [(str(number), b"x") for number in range(25)])
    looping = consumer(log, into)
    async with running(looping):
        await until(lambda: counted(looping) == (25, 0, 0))
    assert list(into.items) == [str(number) for number in range(25)]
    again = log.subscription(TOPIC, "group", "b", claim_idle_seconds=0)
    assert await again.poll(10, 0.01) == []


async def test_repeats_are_stored_once() -> None:
    log, into = MemoryLog(), sink()
    await publish(log, [("1", b"x"), ("1", b"x"), ("2", b"y")])
    await publish(log, [("2", b"y")])
    looping = consumer(log, into)
    async with running(looping):
        await until(lambda: counted(looping) == (2, 2, 0))
    assert letters(log) == []


async def test_poison_goes_to_the_dead_letters_and_what_is_behind_it_does_not_wait() -> None:
    log, into = MemoryLog(), sink()
    await publish(log, [("1", b"poison"), ("2", b"x"), ("3", b"bug"), ("4", b"refused"), ("5", b"y"), ("2", b"other")])
    looping = consumer(log, into)
    async with running(looping):
        await until(lambda: counted(looping) == (2, 0, 4))
        await publish(log, [("6", b"z")])
        await until(lambda: counted(looping) == (3, 0, 4))
    assert into.items == {"2": ("2", b"x"), "5": ("5", b"y"), "6": ("6", b"z")}
    assert [(letter.key, letter.payload, letter.reason) for letter in letters(log)] == [
        ("1", b"poison", "poison"),
        ("3", b"bug", "the parser failed: KeyError"),
        ("4", b"refused", "not wanted"),
        ("2", b"other", "another event is stored under its key"),
    ]
    assert [event.key for event in log.events(dead(TOPIC))] == ["1", "3", "4", "2"]
    first = letters(log)[0]
    assert (first.topic, first.position, first.group, first.attempts) == (TOPIC, "0", "group", 1)
    assert first.create_time.seconds > 0


async def test_a_key_that_no_message_can_hold_does_not_stop_the_loop() -> None:
    log, into = MemoryLog(), sink()
    await publish(log, [("a\ud800", b"poison")])
    looping = consumer(log, into)
    async with running(looping):
        await until(lambda: counted(looping) == (0, 0, 1))
    assert letters(log)[0].key == "a?"


async def test_a_whole_topic_of_poison_is_not_swallowed() -> None:
    log, into = MemoryLog(), sink()
    now = 0.0
    allowance = Allowance(most=4, per_stored=0.5, seconds_each=60.0, clock=lambda: now)
    await publish(log, [(str(number), b"poison") for number in range(12)])
    looping = consumer(log, into, allowance=allowance)
    async with running(looping):
        await until(lambda: looping.obstructions[Obstacle.REFUSALS] > 3)
        assert looping.waits_for is Obstacle.REFUSALS
        assert counted(looping) == (0, 0, 4)
        with pytest.raises(EventLogUnavailable):
            await looping.check()
        now = 60.0
        await until(lambda: counted(looping) == (0, 0, 5))  # a trickle passes
        now = 480.0
        await until(lambda: counted(looping) == (0, 0, 9))  # but never more than `most` at once
        now = 720.0
        await until(lambda: counted(looping) == (0, 0, 12))
        await until(lambda: looping.waits_for is None)
        await looping.check()
    assert [letter.key for letter in letters(log)] == [str(number) for number in range(12)]


async def test_what_is_held_back_comes_to_a_consumer_that_can_take_it() -> None:
    log, into = MemoryLog(), sink()
    await publish(log, [(str(number), b"poison" if number % 3 else b"x") for number in range(12)])
    none = Allowance(most=1, per_stored=0.0, clock=lambda: 0.0)
    looping = consumer(log, into, allowance=none)
    async with running(looping):
        await until(lambda: looping.waits_for is Obstacle.REFUSALS)
    assert len(letters(log)) == 1
    subscription = log.subscription(TOPIC, "group", "a", claim_idle_seconds=0.02)
    newer = Consumer("group", subscription, dead_letters(log), lambda event: (event.key, event.payload), into, PACE)
    async with running(newer):
        await until(lambda: len(into.items) == 11)
    assert len(letters(log)) == 1


async def test_what_is_stored_earns_letters() -> None:
    allowance = Allowance(most=10, per_stored=0.5, clock=lambda: 0.0)
    assert allowance.spend(100) == 10
    allowance.earn(5)
    assert (allowance.spend(1), allowance.spend(1), allowance.spend(1)) == (1, 1, 0)
    allowance.earn(1)
    assert allowance.spend(9) == 1, "halves add up"
    allowance.earn(1000)
    assert allowance.spend(1000) == 10


async def test_dead_letters_wait_for_a_log_that_is_down_and_nothing_is_committed() -> None:
    log, into = MemoryLog(), sink()

    class DownAtOnce(DeadLetters):
        async def put(self, letters: Sequence[events_pb2.DeadLetter]) -> None:
            raise EventLogUnavailable("down")

    await publish(log, [("1", b"poison")])
    subscription = log.subscription(TOPIC, "group", "a")
    broken = DownAtOnce(TOPIC, log.publisher(), log.subscription(dead(TOPIC), DEAD_LETTER_GROUP, "test"))
    looping = Consumer("group", subscription, broken, parse, into, PACE)
    async with running(looping):
        await until(lambda: looping.obstructions[Obstacle.LOG] > 2)
    assert len(await log.subscription(TOPIC, "group", "b", claim_idle_seconds=0).poll(10, 0.01)) == 1


async def test_a_letter_that_is_replayed_and_still_bad_comes_back_with_its_attempts_counted() -> None:
    log, into = MemoryLog(), sink()
    await publish(log, [("1", b"poison"), ("2", b"x")])
    looping = consumer(log, into)
    box = dead_letters(log)
    async with running(looping):
        for attempts in (1, 2, 3):
            await until(lambda: looping.outcomes[Outcome.DEAD_LETTERED] == attempts)  # noqa: B023
            [letter] = await box.read()
            assert letter.content.attempts == attempts
            assert await box.replay([letter], lambda letter: True) == 1


async def test_only_poison() -> None:
    log, into = MemoryLog(), sink()
    await publish(log, [("1", b"poison"), ("2", b"refused"), ("3", b"refused")])
    looping = consumer(log, into)
    async with running(looping):
        await until(lambda: counted(looping) == (0, 0, 3))
    assert into.items == {}


async def test_store_that_is_down_is_waited_for_without_commit() -> None:
    log, into = MemoryLog(), sink()
    into.down = True
    await publish(log, [("1", b"x"), ("2", b"poison")])
    looping = consumer(log, into)
    async with running(looping) as task:
        await until(lambda: looping.obstructions[Obstacle.STORE] > 5)
        assert looping.waits_for is Obstacle.STORE
        assert not task.done()
        other = log.subscription(TOPIC, "group", "b", claim_idle_seconds=0)
        assert len(await other.poll(10, 0.01)) == 2, "not committed"
        into.down = False
        await until(lambda: counted(looping) == (1, 0, 1))
        assert looping.waits_for is None


async def test_log_that_is_down_is_waited_for() -> None:
    log, into = MemoryLog(), sink()
    await publish(log, [("1", b"x")])
    looping = consumer(log, into)
    async with running(looping):
        await until(lambda: counted(looping) == (1, 0, 0))
        log.down = True
        await until(lambda: looping.obstructions[Obstacle.LOG] > 5)
        assert looping.waits_for is Obstacle.LOG
        log.down = False
        await publish(log, [("2", b"y")])
        await until(lambda: counted(looping) == (2, 0, 0))
        assert looping.waits_for is None


async def test_commit_that_fails_is_tried_again() -> None:
    log, into = MemoryLog(), sink()

    class LogFallsAfterPut(MemorySink[Pair]):
        async def put(self, items: Sequence[Pair]) -> Sequence[Stored]:
            ends = await super().put(items)
            log.down = True
            return ends

    into = LogFallsAfterPut(lambda pair: pair[0])
    await publish(log, [("1", b"x")])
    looping = consumer(log, into)
    async with running(looping):
        await until(lambda: looping.obstructions[Obstacle.LOG] > 2)
        assert counted(looping) == (0, 0, 0)
        log.down = False
        await until(lambda: counted(looping) == (1, 0, 0))
    assert into.puts == 1


async def test_fault_that_no_contract_names_ends_the_loop_uncommitted() -> None:
    log = MemoryLog()

    class Broken(MemorySink[Pair]):
        async def put(self, items: Sequence[Pair]) -> Sequence[Stored]:
            raise RuntimeError

    await publish(log, [("1", b"x")])
    looping = consumer(log, Broken(lambda pair: pair[0]))
    with pytest.raises(RuntimeError):
        await looping.run()
    assert len(await log.subscription(TOPIC, "group", "b", claim_idle_seconds=0).poll(10, 0.01)) == 1


@pytest.mark.parametrize("seed", range(20))
async def test_cancellation_at_any_point_loses_nothing(seed: int) -> None:
    chance = random.Random(seed)
    log, into = MemoryLog(), sink()
    kinds = [b"x", b"x", b"x", b"poison", b"refused"]
    sent = [(str(number), chance.choice(kinds)) for number in range(60)]
    await publish(log, sent[:30])
    for round_ in range(15):
        into.down = chance.random() < 0.3
        async with running(consumer(log, into, chance.choice("ab"))):
            for _ in range(chance.randint(0, 12)):
                await asyncio.sleep(0)
        await publish(log, sent[30 + 2 * round_ : 32 + 2 * round_])
    into.down = False
    async with running(consumer(log, into)):
        await until(lambda: len(into.items) + len({letter.key for letter in letters(log)}) == 60)
    assert set(into.items) == {key for key, payload in sent if payload == b"x"}
    assert {letter.key for letter in letters(log)} == {key for key, payload in sent if payload != b"x"}
    assert await log.subscription(TOPIC, "group", "c", claim_idle_seconds=30).poll(99, 0.01) == []


async def test_figures_are_prometheus_metrics() -> None:
    log, into = MemoryLog(), sink()
    await publish(log, [("1", b"x"), ("2", b"poison")])
    looping = consumer(log, into)
    registry = CollectorRegistry()
    registry.register(looping)
    async with running(looping):
        await until(lambda: counted(looping) == (1, 0, 1))
        into.down = True
        await publish(log, [("3", b"x")])
        await until(lambda: looping.waits_for is Obstacle.STORE)
        await until(lambda: (looping.lag, looping.letters_waiting) == (1, 1))
        text = generate_latest(registry).decode()
    assert 'assay_consumer_events_total{outcome="stored",topic="assay.test.v1"} 1.0' in text
    assert 'assay_consumer_events_total{outcome="dead_lettered",topic="assay.test.v1"} 1.0' in text
    assert 'assay_consumer_waiting{obstacle="store",topic="assay.test.v1"} 1.0' in text
    assert 'assay_consumer_waiting{obstacle="log",topic="assay.test.v1"} 0.0' in text
    assert 'assay_consumer_waiting{obstacle="refusals",topic="assay.test.v1"} 0.0' in text
    assert 'assay_consumer_lag{topic="assay.test.v1"} 1.0' in text
    assert 'assay_dead_letters{topic="assay.test.v1"} 1.0' in text
