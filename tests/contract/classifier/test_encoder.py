"""What services/classifier/ports.py promises of an encoder, on the fake and on the real Triton."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from services.classifier.bundle import IntArray
from services.classifier.ports import Encoder, EncoderUnavailable, EncodingFailed
from tests.fixtures.bundles import DIMENSION, VOCABULARY


def row(*words: str) -> IntArray:
    return np.array([VOCABULARY[word] for word in ("<s>", *words, "</s>")], np.int64)


def soon() -> float:
    return asyncio.get_running_loop().time() + 30


async def test_each_row_gets_its_own_embedding_in_order(encoder: Encoder) -> None:
    rows = [row("greet"), row("card", "please", "now", "again"), row("fever", "my")]
    embeddings = await encoder.embed(rows, soon())
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (3, DIMENSION)
    for ids, embedding in zip(rows, embeddings, strict=True):
        expected = np.zeros(DIMENSION, np.float32)
        expected[ids[1:-1]] = 1 / len(ids)
        np.testing.assert_allclose(embedding, expected, rtol=1e-6)


async def test_padding_changes_nothing(encoder: Encoder) -> None:
    alone = await encoder.embed([row("cough")], soon())
    beside = await encoder.embed([row("cough"), row(*["the"] * 400)], soon())
    np.testing.assert_array_equal(alone[0], beside[0])


async def test_many_calls_at_once_keep_their_rows_apart(encoder: Encoder) -> None:
    words = [word for word in VOCABULARY if not word.startswith("<")]
    calls = [[row(words[(n + k) % len(words)]) for k in range(1 + n % 3)] for n in range(60)]
    answers = await asyncio.gather(*(encoder.embed(rows, soon()) for rows in calls))
    for rows, embeddings in zip(calls, answers, strict=True):
        assert [int(e.argmax()) for e in embeddings] == [int(ids[1]) for ids in rows]


async def test_it_says_how_many_calls_it_wants(encoder: Encoder, gone_encoder: Encoder) -> None:
    assert encoder.capacity >= 2
    assert gone_encoder.capacity == 0


async def test_a_row_it_cannot_encode_fails_its_call_and_no_other(encoder: Encoder) -> None:
    bad = np.array([0, 10_000, 2], np.int64)
    results = await asyncio.gather(
        encoder.embed([bad], soon()), encoder.embed([row("greet")], soon()), return_exceptions=True
    )
    assert isinstance(results[0], EncodingFailed)
    assert isinstance(results[1], np.ndarray)


async def test_a_deadline_in_the_past_is_a_timeout(encoder: Encoder) -> None:
    with pytest.raises(TimeoutError):
        await encoder.embed([row("greet")], asyncio.get_running_loop().time() - 1)


async def test_cancelling_a_call_leaves_the_encoder_usable(encoder: Encoder) -> None:
    call = asyncio.create_task(encoder.embed([row("greet")], soon()))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await encoder.embed([row("card")], soon())).shape == (1, DIMENSION)


async def test_a_server_that_is_gone_is_unavailable(gone_encoder: Encoder) -> None:
    with pytest.raises(EncoderUnavailable):
        await gone_encoder.embed([row("greet")], soon())
