"""The queue in front of an encoder."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

from services.classifier.batches import GroupLimits
from services.classifier.bundle import IntArray
from services.classifier.encoding import EncodingQueue
from services.kernel.errors import AssayError, Reason
from tests.fixtures.bundles import DIMENSION, VOCABULARY
from tests.fixtures.encoders import FakeEncoder

LIMITS = GroupLimits(rows=4, tokens=512, call_tokens=8)


def row(token: int, length: int = 5) -> IntArray:
    return np.array([0, *[token] * (length - 2), 2], np.int64)


def soon() -> float:
    return asyncio.get_running_loop().time() + 30


def queue_on(encoder: FakeEncoder, longest: int = 1000) -> EncodingQueue:
    return EncodingQueue(encoder, DIMENSION, LIMITS, longest)


async def until_idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_row_leaves_at_once_when_the_encoder_is_idle() -> None:
    encoder = FakeEncoder()
    encoded = await queue_on(encoder).encode([row(5)], soon())
    assert encoded.errors == {}
    assert encoded.embeddings[0].argmax() == 5
    assert len(encoder.calls) == 1


async def test_rows_of_several_calls_share_a_group_of_like_length() -> None:
    encoder = FakeEncoder()
    encoder.gate.clear()
    queue = queue_on(encoder)
    first = asyncio.create_task(queue.encode([row(5, 9)], soon()))
    await until_idle()
    others = [asyncio.create_task(queue.encode([row(t, n), row(t, 60)], soon())) for t, n in ((6, 10), (7, 11), (8, 9))]
    await until_idle()
    assert len(encoder.calls) == 1
    encoder.gate.set()
    for token, encoded in zip((5, 6, 7, 8), [await first, *[await other for other in others]], strict=True):
        assert {int(e.argmax()) for e in encoded.embeddings} == {token}
    assert [sorted(map(len, call)) for call in encoder.calls] == [[9], [9, 10, 11], [60, 60, 60]]


async def test_few_rows_are_spread_over_the_free_calls() -> None:
    encoder = FakeEncoder(capacity=2)
    await queue_on(encoder).encode([row(5) for _ in range(4)], soon())
    assert [len(call) for call in encoder.calls] == [2, 2]
    assert encoder.most_in_flight == 2


async def test_no_more_calls_than_the_encoder_wants() -> None:
    encoder = FakeEncoder(capacity=3)
    queue = queue_on(encoder)
    await asyncio.gather(*(queue.encode([row(5, 3 + n % 40)], soon()) for n in range(100)))
    assert encoder.most_in_flight == 3


async def test_the_oldest_row_goes_first_whatever_its_length() -> None:
    encoder = FakeEncoder()
    encoder.gate.clear()
    queue = queue_on(encoder)
    jobs = [asyncio.create_task(queue.encode([row(5, 3)], soon()))]
    await until_idle()
    jobs.append(asyncio.create_task(queue.encode([row(6, 200)], soon())))
    await until_idle()
    jobs += [asyncio.create_task(queue.encode([row(7, 3) for _ in range(40)], soon()))]
    await until_idle()
    encoder.gate.set()
    await asyncio.gather(*jobs)
    assert len(encoder.calls[1][0]) == 200


async def test_a_poisoned_row_fails_alone() -> None:
    encoder = FakeEncoder()
    encoder.poison = {9}
    encoded = await queue_on(encoder).encode([row(5), row(9), row(6)], soon())
    assert {number: error.reason for number, error in encoded.errors.items()} == {1: Reason.INTERNAL}
    assert [int(encoded.embeddings[n].argmax()) for n in (0, 2)] == [5, 6]


async def test_an_encoder_that_is_gone_is_said_to_be_unavailable_and_used_again_when_back() -> None:
    encoder = FakeEncoder(capacity=0)
    encoder.reachable = False
    queue = queue_on(encoder)
    encoded = await queue.encode([row(5)], soon())
    assert encoded.errors[0].reason is Reason.PART_UNAVAILABLE
    assert encoded.errors[0].metadata == {"part": "triton"}
    encoder.reachable, encoder.capacity = True, 1
    assert not (await queue.encode([row(5)], soon())).errors


async def test_a_deadline_ends_the_wait_and_its_rows_never_leave() -> None:
    encoder = FakeEncoder()
    encoder.gate.clear()
    queue = queue_on(encoder)
    ahead = asyncio.create_task(queue.encode([row(5)], soon()))
    await until_idle()
    with pytest.raises(AssayError) as caught:
        await queue.encode([row(6)], asyncio.get_running_loop().time() + 0.01)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert queue.waiting == 0
    encoder.gate.set()
    await ahead
    assert encoder.calls == [[row(5).tolist()]]


async def test_a_cancelled_call_takes_its_rows_along() -> None:
    encoder = FakeEncoder()
    encoder.gate.clear()
    queue = queue_on(encoder)
    ahead = asyncio.create_task(queue.encode([row(5)], soon()))
    await until_idle()
    gone = asyncio.create_task(queue.encode([row(6), row(7)], soon()))
    kept = asyncio.create_task(queue.encode([row(8)], soon()))
    await until_idle()
    gone.cancel()
    await until_idle()
    assert queue.waiting == 1
    encoder.gate.set()
    await ahead
    assert int((await kept).embeddings[0].argmax()) == 8
    assert encoder.calls == [[row(5).tolist()], [row(8).tolist()]]


async def test_a_full_queue_refuses() -> None:
    encoder = FakeEncoder()
    encoder.gate.clear()
    queue = queue_on(encoder, longest=2)
    jobs = [asyncio.create_task(queue.encode([row(5)], soon())) for _ in range(3)]
    await until_idle()
    with pytest.raises(AssayError) as caught:
        await queue.encode([row(6)], soon())
    assert caught.value.reason is Reason.OVERLOADED
    assert caught.value.metadata == {"part": "classifier", "limit": "2"}
    encoder.gate.set()
    await asyncio.gather(*jobs)


async def test_closing_fails_what_waits() -> None:
    encoder = FakeEncoder()
    encoder.gate.clear()
    queue = queue_on(encoder)
    jobs = [asyncio.create_task(queue.encode([row(5)], soon())) for _ in range(3)]
    await until_idle()
    await queue.close()
    for job in jobs:
        assert (await job).errors[0].reason is Reason.PART_UNAVAILABLE


async def test_every_row_gets_its_own_embedding_whatever_happens_around_it() -> None:
    chance = random.Random(11)
    encoder = FakeEncoder(capacity=3)
    encoder.poison = {21}
    queue = queue_on(encoder, longest=100_000)
    words = [token for token in range(4, len(VOCABULARY)) if token not in encoder.poison]

    async def ask() -> None:
        tokens = [chance.choice([*words, 21]) for _ in range(chance.randint(1, 6))]
        rows = [row(token, chance.randint(3, 30)) for token in tokens]
        job = asyncio.create_task(queue.encode(rows, soon()))
        for _ in range(chance.randint(0, 5)):
            await asyncio.sleep(0)
        if chance.random() < 0.2 and not job.done():
            job.cancel()
            return
        encoded = await job
        for number, token in enumerate(tokens):
            if token == 21:
                assert encoded.errors[number].reason is Reason.INTERNAL
            else:
                assert number not in encoded.errors
                assert int(encoded.embeddings[number].argmax()) == token

    await asyncio.gather(*(ask() for _ in range(500)))
    assert queue.waiting == 0
