from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.kernel.consumer import Consumer, ConsumerPace, Obstacle, Outcome
from services.kernel.eventlog.memory import MemoryLog
from services.kernel.eventlog.port import Event
from services.kernel.stores import DeadLetter, Refused, Stored
from tests.fixtures.stores import MemorySink

TOPIC = "assay.test.v1"
PACE = ConsumerPace(batch=10, poll=0.01, first_pause=0.001, longest_pause=0.004)
Pair = tuple[str, bytes]


def parse(event: Event) -> Pair:
    if event.payload == b"poison":
        raise Refused("poison")
    if event.payload == b"bug":
        raise KeyError("text of the caller")
    return event.key, event.payload


def sink() -> MemorySink[Pair]:
    return MemorySink(lambda pair: pair[0], lambda pair: pair[1] == b"refused")


def consumer(log: MemoryLog, into: MemorySink[Pair], name: str = "a") -> Consumer[Pair]:
    return Consumer(TOPIC, log.subscription(TOPIC, "group", name, claim_idle_seconds=0.02), parse, into, PACE)


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
    assert into.letters == []


async def test_poison_goes_to_the_dead_letters_and_what_is_behind_it_does_not_wait() -> None:
    log, into = MemoryLog(), sink()
    await publish(log, [("1", b"poison"), ("2", b"x"), ("3", b"bug"), ("4", b"refused"), ("5", b"y"), ("2", b"other")])
    looping = consumer(log, into)
    async with running(looping):
        await until(lambda: counted(looping) == (2, 0, 4))
        await publish(log, [("6", b"z")])
        await until(lambda: counted(looping) == (3, 0, 4))
    assert into.items == {"2": ("2", b"x"), "5": ("5", b"y"), "6": ("6", b"z")}
    assert sorted(into.letters, key=lambda letter: (letter.key, letter.payload)) == [
        DeadLetter(TOPIC, "1", b"poison", "poison"),
        DeadLetter(TOPIC, "2", b"other", "another event is stored under its key"),
        DeadLetter(TOPIC, "3", b"bug", "the parser failed: KeyError"),
        DeadLetter(TOPIC, "4", b"refused", "not wanted"),
    ]


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
        await until(lambda: len(into.items) + len(into.letters) == 60)
    assert set(into.items) == {key for key, payload in sent if payload == b"x"}
    assert {letter.key for letter in into.letters} == {key for key, payload in sent if payload != b"x"}
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
        text = generate_latest(registry).decode()
    assert 'assay_consumer_events_total{outcome="stored",topic="assay.test.v1"} 1.0' in text
    assert 'assay_consumer_events_total{outcome="dead_lettered",topic="assay.test.v1"} 1.0' in text
    assert 'assay_consumer_waiting{obstacle="store",topic="assay.test.v1"} 1.0' in text
    assert 'assay_consumer_waiting{obstacle="log",topic="assay.test.v1"} 0.0' in text
