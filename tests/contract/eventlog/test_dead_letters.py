"""Dead letters on every event log: nothing is lost between being put aside and being put back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from assay.events.v1 import events_pb2

from services.kernel.eventlog.deadletters import DeadLetters, Letter
from services.kernel.eventlog.port import Event
from services.kernel.eventlog.topics import dead

if TYPE_CHECKING:
    from tests.contract.eventlog.conftest import LogUnderTest


@pytest.fixture
async def box(log: LogUnderTest) -> AsyncIterator[DeadLetters]:
    log.topic_of_letters()
    made = DeadLetters(log.topic, log.publisher(), log.letters("reader"))
    yield made
    await made.close()


def letters(topic: str, count: int) -> list[events_pb2.DeadLetter]:
    return [
        events_pb2.DeadLetter(topic=topic, key=f"k{n}", payload=b"\xff%d" % n, reason="why", attempts=n + 1)
        for n in range(count)
    ]


def contents(found: list[Letter]) -> list[events_pb2.DeadLetter]:
    return [letter.content for letter in found]


async def test_letters_are_counted_read_and_stay(log: LogUnderTest, box: DeadLetters) -> None:
    assert await box.waiting() == 0
    assert await box.read() == []
    put = letters(log.topic, 5)
    await box.put(put)
    assert await box.waiting() == 5
    assert contents(await box.read()) == put
    await box.close()
    again = DeadLetters(log.topic, log.publisher(), log.letters("reader"))
    assert await again.waiting() == 5
    assert contents(await again.read()) == put


async def test_chosen_ones_go_back_to_their_topic_and_the_others_stay(log: LogUnderTest, box: DeadLetters) -> None:
    put = letters(log.topic, 5)
    await box.put(put)
    dealt: list[int] = []
    count = await box.replay(await box.read(), lambda letter: letter.content.key in ("k1", "k3"), dealt.append)
    assert (count, sum(dealt)) == (2, 5)
    subscription = log.subscription("a")
    got = [delivery.event for delivery in await subscription.poll(10, 10)]
    assert got == [Event("k1", b"\xff1", 2), Event("k3", b"\xff3", 4)]
    assert await box.waiting() == 3
    assert contents(await box.read()) == [put[0], put[2], put[4]]


async def test_all_of_them_go_back(log: LogUnderTest, box: DeadLetters) -> None:
    await box.put(letters(log.topic, 450))
    assert await box.replay(await box.read(), lambda letter: True) == 450
    assert await box.waiting() == 0
    assert await log.subscription("a").lag() == 450


async def test_what_is_no_letter_is_shown_and_never_replayed(log: LogUnderTest, box: DeadLetters) -> None:
    await log.publisher().publish(dead(log.topic), [Event("k", b"\xff\xff")])
    found = await box.read()
    assert "no dead letter" in found[0].content.reason
    assert await box.replay(found, lambda letter: True) == 0
    assert await box.waiting() == 1
