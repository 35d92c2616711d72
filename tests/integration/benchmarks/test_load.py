"""The load generator against a stock server: what it sends arrives, and what it counts happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from benchmarks import load
from benchmarks.load import Outcome, Plan


@asynccontextmanager
async def server(behaviour: Any) -> AsyncIterator[str]:
    handler = grpc.unary_unary_rpc_method_handler(behaviour)
    running = grpc.aio.server(options=(("grpc.max_receive_message_length", -1),))
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler}),))
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await running.stop(None)


async def drive(address: str, messages: tuple[bytes, ...], count: int, path: str = "/a.B/C") -> Outcome:
    plan = Plan(address, path, messages, 2, 8, count, 60.0, metadata=(("x-some", "thing" * 50),))
    return await asyncio.to_thread(load.drive, plan)


@pytest.mark.parametrize("sizes", [(0, 1, 100), (16_379, 16_384, 70_000, 300_000)])
async def test_every_message_arrives(sizes: tuple[int, ...]) -> None:
    seen: list[bytes] = []

    async def behaviour(request: bytes, context: Any) -> bytes:
        assert ("x-some", "thing" * 50) in [tuple(pair) for pair in context.invocation_metadata()]
        seen.append(request)
        return request

    messages = tuple(bytes([number]) * size for number, size in enumerate(sizes))
    async with server(behaviour) as address:
        outcome = await drive(address, messages, 60)
    assert outcome.statuses == {"0": 60}
    assert set(seen) == set(messages)
    assert len(outcome.latencies) == 60
    assert outcome.per_second > 0


async def test_large_answers() -> None:
    async def behaviour(request: bytes, context: Any) -> bytes:
        return bytes(1_000_000)

    async with server(behaviour) as address:
        assert (await drive(address, (b"x",), 40)).statuses == {"0": 40}


async def test_failures_are_counted() -> None:
    async def behaviour(request: bytes, context: Any) -> bytes:
        if request == b"bad":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no")
        return b""

    async with server(behaviour) as address:
        outcome = await drive(address, (b"good", b"bad"), 40)
        assert outcome.statuses == {"0": 20, "5": 20}
        assert outcome.failures == 20
        assert (await drive(address, (b"x",), 5, "/a.B/Nope")).statuses == {"12": 5}


def test_long_literals() -> None:
    from hpack import Decoder

    headers = [("a", "b"), ("long", "v" * 127), ("longer", "v" * 5000)]
    assert [tuple(pair) for pair in Decoder(max_header_list_size=10**6).decode(load.header_block(headers))] == headers
