"""A Triton that answers nonsense, or nothing: never a label, and never another caller's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest

from services.classifier.adapters.triton import TritonEncoder, TritonServers
from services.classifier.ports import EncoderUnavailable, EncodingFailed
from tests.fixtures.lying_triton import lying_triton

ROWS = [np.array([0, 5, 2], np.int64), np.array([0, 6, 7, 2], np.int64)]


def soon() -> float:
    return asyncio.get_running_loop().time() + 10


@asynccontextmanager
async def encoder_over(*addresses: str) -> AsyncIterator[TritonEncoder]:
    servers = TritonServers(addresses, ["encoder-1.0.0"], ahead=0)
    encoder = servers.encoder("encoder-1.0.0", 32)
    for _ in range(5):
        await servers.probe_all()
        if encoder.capacity == len(addresses):
            break
    try:
        yield encoder
    finally:
        await servers.close()


def holding(value: float) -> np.ndarray:
    embeddings = np.zeros((2, 32), np.float32)
    embeddings[1, 7] = value
    return embeddings


@pytest.mark.parametrize(
    "embeddings",
    [
        np.zeros((1, 32), np.float32),
        np.zeros((3, 32), np.float32),
        np.zeros((2, 31), np.float32),
        np.zeros((2, 32, 1), np.float32),
        np.zeros((64,), np.float32),
        np.zeros((2, 32), np.float64),
        holding(float("nan")),
        holding(float("inf")),
        holding(float("-inf")),
    ],
    ids=["too few rows", "too many rows", "too narrow", "a dimension more", "flat", "doubles", "nan", "inf", "-inf"],
)
async def test_an_answer_that_is_not_what_was_asked_for_is_refused(embeddings: np.ndarray) -> None:
    async with lying_triton() as (server, address), encoder_over(address) as encoder:
        server.answer = lambda rows: embeddings
        with pytest.raises(EncodingFailed):
            await encoder.embed(ROWS, soon())


@pytest.mark.parametrize("raw", [[], [b""], [b"\0" * 7], [b"\0" * 4096]])
async def test_an_answer_whose_bytes_do_not_fit_its_shape_is_refused(raw: list[bytes]) -> None:
    async with lying_triton() as (server, address), encoder_over(address) as encoder:
        server.raw = raw
        with pytest.raises(EncodingFailed):
            await encoder.embed(ROWS, soon())


async def test_another_server_is_asked_when_one_answers_nonsense() -> None:
    async with lying_triton() as (bad, first), lying_triton() as (good, second):
        bad.answer = lambda rows: np.zeros((1, 1), np.float32)
        good.answer = lambda rows: np.ones((rows, 32), np.float32)
        async with encoder_over(first, second) as encoder:
            for _ in range(5):
                assert (await encoder.embed(ROWS, soon())).sum() == 64
        assert good.calls == 5


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND])
async def test_a_server_that_cannot_serve_is_left_out_until_it_is_probed_again(status: grpc.StatusCode) -> None:
    async with lying_triton() as (bad, first), lying_triton() as (good, second):
        bad.status = status
        async with encoder_over(first, second) as encoder:
            for _ in range(5):
                await encoder.embed(ROWS, soon())
            assert bad.calls <= 1
            good.status = status
            with pytest.raises(EncoderUnavailable):
                await encoder.embed(ROWS, soon())
            assert encoder.capacity == 0


async def test_calls_go_to_the_less_busy_server() -> None:
    async with (
        lying_triton() as (one, first),
        lying_triton() as (other, second),
        encoder_over(first, second) as encoder,
    ):
        await asyncio.gather(*(encoder.embed(ROWS, soon()) for _ in range(20)))
        assert (one.calls, other.calls) == (10, 10)


async def test_an_address_that_speaks_something_else_is_unavailable() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, encoder_over(address) as encoder:
        with pytest.raises(EncoderUnavailable):
            await encoder.embed(ROWS, soon())


async def test_an_address_that_does_not_resolve_is_unavailable() -> None:
    async with encoder_over("no-such-host.invalid:8001") as encoder:
        with pytest.raises(EncoderUnavailable):
            await encoder.embed(ROWS, soon())
