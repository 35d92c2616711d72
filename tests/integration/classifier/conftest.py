"""The classifier's own wiring, served on a port, over the real Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from assay.classifier.v1 import classifier_pb2_grpc

from services.classifier.settings import Settings
from services.classifier.wiring import build
from services.kernel.hosting import aio
from tests.fixtures.triton import own_triton, shared_triton, tiny_models

__all__ = ["own_triton", "shared_triton", "tiny_models"]


@asynccontextmanager
async def serving(models: Path, *addresses: str, **settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    """Serves a classifier over the Triton servers at `addresses`; yields a channel to it."""
    wiring = build(Settings(triton_addresses=addresses, models=models, **settings))
    async with aio.serve(wiring) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


def stub(channel: grpc.aio.Channel) -> classifier_pb2_grpc.ClassifierServiceAsyncStub:
    """Returns a typed stub."""
    return classifier_pb2_grpc.ClassifierServiceStub(channel)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns when `condition` holds; the test's own time limit ends the wait."""
    while not await condition():
        await asyncio.sleep(0.05)
