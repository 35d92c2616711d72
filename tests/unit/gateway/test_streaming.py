from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from services.gateway.streaming import StreamLimits, in_completion_order


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_answers_come_when_they_are_ready() -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def answer(number: int) -> int:
        await gates[number].wait()
        return number

    results = []
    gates[2].set()
    async for result in in_completion_order(numbers(3), answer, StreamLimits()):
        results.append(result)
        gates[{2: 0, 0: 1, 1: 1}[result]].set()
    assert results == [2, 0, 1]


async def test_a_reader_that_does_not_read_stops_the_stream() -> None:
    begun = 0

    async def answer(number: int) -> int:
        nonlocal begun
        begun += 1
        return number

    async with aclosing(in_completion_order(numbers(100), answer, StreamLimits(items_in_flight=8))) as responses:
        await anext(responses)
        for _ in range(200):
            await asyncio.sleep(0)
        assert begun <= 9
        rest = [result async for result in responses]
    assert len(rest) == 99


async def test_leaving_cancels_what_is_in_flight() -> None:
    cancelled = 0

    async def answer(number: int) -> int:
        nonlocal cancelled
        try:
            await asyncio.sleep(0 if number == 0 else 60)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return number

    async with aclosing(in_completion_order(numbers(5), answer, StreamLimits())) as responses:
        assert await anext(responses) == 0
    assert cancelled == 4


async def test_a_broken_stream_raises_after_what_was_ready() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0.01)
        raise ValueError("unreadable")

    async def answer(number: int) -> int:
        return number

    results = []

    async def collect() -> None:
        async for result in in_completion_order(broken(), answer, StreamLimits()):
            results.append(result)  # noqa: PERF401  # those before the failure are kept

    with pytest.raises(ValueError, match="unreadable"):
        await collect()
    assert results == [1]


async def test_an_empty_stream_has_no_answers() -> None:
    async def answer(number: int) -> int:
        return number

    assert [result async for result in in_completion_order(numbers(0), answer, StreamLimits())] == []
