"""Every encoder that the suite runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.classifier.adapters.triton import TritonServers
from services.classifier.ports import Encoder
from tests.fixtures.bundles import DIMENSION
from tests.fixtures.encoders import FakeEncoder
from tests.fixtures.triton import TritonServer, running_triton, shared_triton, tiny_models

__all__ = ["shared_triton", "tiny_models"]


@pytest.fixture(scope="session")
def together_triton(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Iterator[TritonServer]:
    """One whose instance reads the rows of a call together."""
    with running_triton(tmp_path_factory.mktemp("triton"), tiny_models, together=True) as server:
        yield server


@pytest.fixture(params=["fake", "shared_triton", "together_triton"])
async def encoder(request: pytest.FixtureRequest) -> AsyncIterator[Encoder]:
    if request.param == "fake":
        yield FakeEncoder(capacity=2)
        return
    servers = TritonServers([request.getfixturevalue(request.param).address], ["encoder-1.0.0"], ahead=1)
    await servers.probe_all()
    yield servers.encoder("encoder-1.0.0", DIMENSION)
    await servers.close()


@pytest.fixture(params=["fake", "triton"])
async def gone_encoder(request: pytest.FixtureRequest) -> AsyncIterator[Encoder]:
    """One whose server can't be reached."""
    if request.param == "fake":
        fake = FakeEncoder(capacity=0)
        fake.reachable = False
        yield fake
        return
    servers = TritonServers(["127.0.0.1:1"], ["encoder-1.0.0"], ahead=1)
    await servers.probe_all()
    yield servers.encoder("encoder-1.0.0", DIMENSION)
    await servers.close()
