from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.answers import Classification
from services.gateway.batching import BatchingLimits, MicroBatcher, Ticket
from services.gateway.requests import Query
from services.kernel.errors import AssayError, Reason


def found(text: str) -> Classification:
    return Classification(f"label of {text}", 0.9, "intent", "v1.0.0", "general", 1)


class Scripted:
    """A classifier whose calls end when the test says."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.deadlines: list[float] = []
        self.ends: list[asyncio.Future[None]] = []
        self.cancelled = 0
        self.short_by = 0

    async def __call__(self, queries: Sequence[Query], deadline: float) -> list[Classification | AssayError]:
        self.calls.append([query.text for query in queries])
        self.deadlines.append(deadline)
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ends.append(end)
        try:
            await end
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        results: list[Classification | AssayError] = [
            AssayError(Reason.MODEL_UNKNOWN, field="model") if query.text.startswith("bad") else found(query.text)
            for query in queries
        ]
        return results[: len(results) - self.short_by]


class Bench:
    """A batcher before a scripted classifier."""

    def __init__(self, slow_calls: int = 0, **limits: Any) -> None:
        self.send = Scripted()
        self.sizes: list[int] = []
        self.batcher = MicroBatcher(self.send, BatchingLimits(slow_calls=slow_calls, **limits), self.sizes.append)
        self.loop = asyncio.get_running_loop()

    def submit(self, text: str, seconds: float = 60.0) -> Ticket:
        return self.batcher.submit(Query(text), self.loop.time() + seconds)

    async def turns(self, count: int = 5) -> None:
        for _ in range(count):
            await asyncio.sleep(0)


async def test_one_text_goes_at_once() -> None:
    bench = Bench()
    ticket = bench.submit("a")
    await bench.turns()
    assert bench.send.calls == [["a"]]
    bench.send.ends[0].set_result(None)
    assert await ticket.future == found("a")
    assert bench.batcher.calls_in_flight == 0


async def test_texts_of_one_turn_go_together_and_those_behind_gather() -> None:
    bench = Bench(calls_in_flight=1)
    first = [bench.submit(text) for text in "abc"]
    await bench.turns()
    later = [bench.submit(text) for text in "defg"]
    await bench.turns()
    assert bench.send.calls == [["a", "b", "c"]]
    assert bench.batcher.waiting == 4
    bench.send.ends[0].set_result(None)
    await asyncio.gather(*(ticket.future for ticket in first))
    await bench.turns()
    assert bench.send.calls == [["a", "b", "c"], ["d", "e", "f", "g"]]
    bench.send.ends[1].set_result(None)
    assert [await ticket.future for ticket in later] == [found(text) for text in "defg"]
    assert bench.sizes == [3, 4]


async def test_many_texts_are_shared_out_over_the_free_calls() -> None:
    bench = Bench(calls_in_flight=2, batch_texts=64)
    for number in range(40):
        bench.submit(str(number))
    await bench.turns()
    assert [len(call) for call in bench.send.calls] == [20, 20]


async def test_a_call_carries_no_more_than_the_limit() -> None:
    bench = Bench(calls_in_flight=2, batch_texts=10)
    for number in range(35):
        bench.submit(str(number))
    await bench.turns()
    assert [len(call) for call in bench.send.calls] == [10, 10]
    assert bench.batcher.waiting == 15
    await bench.batcher.close()


async def test_while_calls_are_slow_further_ones_start_at_intervals() -> None:
    bench = Bench(calls_in_flight=1, slow_calls=2, interval=0.02)
    bench.submit("first")
    await bench.turns()
    for text in ("a", "b"):
        bench.submit(text)
    await bench.turns()
    assert bench.send.calls == [["first"]]
    await asyncio.sleep(0.06)
    assert bench.send.calls == [["first"], ["a", "b"]]
    bench.submit("c")
    await asyncio.sleep(0.06)
    bench.submit("d")
    await asyncio.sleep(0.06)
    assert bench.send.calls == [["first"], ["a", "b"], ["c"]]
    bench.send.ends[1].set_result(None)
    await bench.turns()
    await asyncio.sleep(0.06)
    assert bench.send.calls[3:] == [["d"]]
    await bench.batcher.close()


async def test_a_call_that_ends_lets_the_next_one_start_at_once() -> None:
    bench = Bench(calls_in_flight=1, slow_calls=2, interval=600.0)
    bench.submit("first")
    await bench.turns()
    bench.submit("next")
    await bench.turns()
    assert bench.send.calls == [["first"]]
    bench.send.ends[0].set_result(None)
    await bench.turns()
    assert bench.send.calls == [["first"], ["next"]]
    await bench.batcher.close()


async def test_a_full_queue_refuses_and_takes_again_when_callers_leave() -> None:
    bench = Bench(calls_in_flight=1, waiting=3)
    bench.submit("in flight")
    await bench.turns()
    waiting = [bench.submit(str(number)) for number in range(3)]
    with pytest.raises(AssayError) as refused:
        bench.submit("one too many")
    assert refused.value.reason is Reason.OVERLOADED
    assert refused.value.metadata == {"part": "gateway", "limit": "3"}
    bench.batcher.withdraw(waiting[1])
    bench.submit("fits now")
    assert bench.batcher.waiting == 3


async def test_a_text_whose_deadline_passed_is_not_sent() -> None:
    bench = Bench(calls_in_flight=1)
    bench.submit("in flight")
    await bench.turns()
    late = bench.submit("late", seconds=0.01)
    kept = bench.submit("kept")
    result = await late.future
    assert isinstance(result, AssayError)
    assert result.reason is Reason.DEADLINE_EXCEEDED
    bench.send.ends[0].set_result(None)
    await bench.turns()
    assert bench.send.calls[1:] == [["kept"]]
    assert bench.batcher.waiting == 0
    bench.send.ends[1].set_result(None)
    assert await kept.future == found("kept")


async def test_a_text_whose_caller_left_is_not_sent() -> None:
    bench = Bench(calls_in_flight=1)
    bench.submit("in flight")
    await bench.turns()
    gone, kept = bench.submit("gone"), bench.submit("kept")
    bench.batcher.withdraw(gone)
    bench.batcher.withdraw(gone)
    bench.send.ends[0].set_result(None)
    await bench.turns()
    assert bench.send.calls[1:] == [["kept"]]
    assert not kept.future.done()


async def test_the_call_lives_as_long_as_its_longest_deadline() -> None:
    bench = Bench()
    now = bench.loop.time()
    bench.submit("short", seconds=1)
    bench.submit("long", seconds=30)
    await bench.turns()
    assert bench.send.deadlines[0] == pytest.approx(now + 30, abs=1)


async def test_a_call_that_nobody_waits_for_is_cancelled() -> None:
    bench = Bench()
    tickets = [bench.submit("a"), bench.submit("b")]
    await bench.turns()
    bench.batcher.withdraw(tickets[0])
    await bench.turns()
    assert bench.send.cancelled == 0
    bench.batcher.withdraw(tickets[1])
    await bench.turns()
    assert bench.send.cancelled == 1
    assert bench.batcher.calls_in_flight == 0


async def test_a_bad_text_fails_alone() -> None:
    bench = Bench()
    tickets = [bench.submit(text) for text in ("a", "bad", "c")]
    await bench.turns()
    bench.send.ends[0].set_result(None)
    results = [await ticket.future for ticket in tickets]
    assert (results[0], results[2]) == (found("a"), found("c"))
    assert isinstance(results[1], AssayError)


async def test_a_failed_call_fails_its_texts_each_with_an_error_of_its_own() -> None:
    bench = Bench()
    tickets = [bench.submit(text) for text in "ab"]
    await bench.turns()
    bench.send.ends[0].set_exception(AssayError(Reason.PART_UNAVAILABLE, part="classifier"))
    results = [await ticket.future for ticket in tickets]
    assert all(isinstance(result, AssayError) and result.metadata == {"part": "classifier"} for result in results)
    assert results[0] is not results[1]


@pytest.mark.parametrize("fault", ["wrong number", "surprise"])
def test_what_should_not_happen_is_internal_and_nobody_gets_another_ones_answer(fault: str) -> None:
    async def case() -> None:
        bench = Bench()
        bench.send.short_by = 1 if fault == "wrong number" else 0
        tickets = [bench.submit(text) for text in "ab"]
        await bench.turns()
        if fault == "surprise":
            bench.send.ends[0].set_exception(RuntimeError("text of a caller"))
        else:
            bench.send.ends[0].set_result(None)
        for ticket in tickets:
            result = await ticket.future
            assert isinstance(result, AssayError)
            assert result.reason is Reason.INTERNAL
        assert bench.batcher.calls_in_flight == 0

    asyncio.run(case())


async def test_closing_ends_everything() -> None:
    bench = Bench(calls_in_flight=1)
    tickets = [bench.submit("in flight")]
    await bench.turns()
    tickets.append(bench.submit("waiting"))
    await bench.batcher.close()
    for ticket in tickets:
        result = await ticket.future
        assert isinstance(result, AssayError)
        assert result.reason is Reason.PART_UNAVAILABLE
    with pytest.raises(AssayError):
        bench.submit("after")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    texts=st.integers(1, 120),
    batch_texts=st.integers(1, 20),
    calls_in_flight=st.integers(1, 4),
    slow_calls=st.integers(0, 3),
)
def test_everybody_gets_an_own_answer_whatever_happens_around(
    seed: int, texts: int, batch_texts: int, calls_in_flight: int, slow_calls: int
) -> None:
    """Random answers, failures, cancellations and deadlines; nothing is sent late or twice, nothing is left over."""
    chance = random.Random(seed)

    async def case() -> None:
        loop = asyncio.get_running_loop()
        sent: set[str] = set()
        deadlines: dict[str, float] = {}
        left: set[str] = set()

        async def send(queries: Sequence[Query], deadline: float) -> list[Classification | AssayError]:
            for query in queries:
                assert query.text not in sent
                assert query.text not in left
                assert deadlines[query.text] > loop.time() - 0.001
                assert deadline >= deadlines[query.text]
                sent.add(query.text)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.1:
                await asyncio.sleep(0.002)
            if chance.random() < 0.1:
                raise AssayError(Reason.PART_UNAVAILABLE, part="classifier")
            return [
                AssayError(Reason.TEXT_TOO_LONG, field="text", text_of=query.text)
                if chance.random() < 0.1
                else found(query.text)
                for query in queries
            ]

        limits = BatchingLimits(batch_texts, calls_in_flight, slow_calls, interval=0.0005, waiting=64)
        batcher = MicroBatcher(send, limits)
        answered = 0

        async def ask(text: str) -> None:
            nonlocal answered
            deadlines[text] = loop.time() + (0.0005 if chance.random() < 0.1 else 30.0)
            try:
                ticket = batcher.submit(Query(text), deadlines[text])
            except AssayError as error:
                assert error.reason is Reason.OVERLOADED  # noqa: PT017
                answered += 1
                return
            try:
                result = await ticket.future
            except asyncio.CancelledError:
                left.add(text)
                batcher.withdraw(ticket)
                raise
            answered += 1
            if isinstance(result, AssayError):
                assert result.metadata.get("text_of", text) == text
            else:
                assert result == found(text)

        tasks = []
        for number in range(texts):
            tasks.append(asyncio.create_task(ask(f"text {number}")))
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            if chance.random() < 0.1:
                chance.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [result for result in results if isinstance(result, Exception)]
        departed = sum(isinstance(result, asyncio.CancelledError) for result in results)
        assert answered + departed == texts
        for _ in range(10):
            await asyncio.sleep(0.001)
            if not batcher.calls_in_flight:
                break
        assert batcher.waiting == 0
        assert batcher.calls_in_flight == 0

    asyncio.run(case())
