"""A gateway by its own wiring on grpc.aio, before a scripted classifier and an event log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from assay.ai.v1 import ai_pb2_grpc
from assay.audit.v1 import audit_pb2
from assay.review.v1 import review_pb2

from services.gateway import wiring
from services.gateway.settings import Settings
from services.kernel.eventlog.memory import MemoryLog, MemoryPublisher
from services.kernel.eventlog.port import AUDIT_TOPIC, REVIEW_TOPIC
from services.kernel.hosting.aio import serve
from tests.fixtures.gateway.classifier import ScriptedClassifier, classifier_server
from tests.fixtures.valkey import valkey

__all__ = ["valkey"]


@dataclass
class Gateway:
    """A running gateway and what stands around it."""

    classifier: ScriptedClassifier
    log: MemoryLog
    port: int
    channel: grpc.aio.Channel
    stub: ai_pb2_grpc.AIServiceAsyncStub
    settings: Settings

    async def events(self, count: int, seconds: float = 10.0) -> list[audit_pb2.AuditEvent]:
        """Waits until the log has so many audit events, and a moment more for one too many; returns them all."""
        await self._arrived(AUDIT_TOPIC, count, seconds)
        return [audit_pb2.AuditEvent.FromString(event.payload) for event in self.log.topic(AUDIT_TOPIC)]

    async def reviews(self, count: int, seconds: float = 10.0) -> list[review_pb2.ReviewRequested]:
        await self._arrived(REVIEW_TOPIC, count, seconds)
        return [review_pb2.ReviewRequested.FromString(event.payload) for event in self.log.topic(REVIEW_TOPIC)]

    async def _arrived(self, topic: str, count: int, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while len(self.log.topic(topic)) < count:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)


def key_file(folder: Path) -> Path:
    path = folder / "pseudonym.key"
    if not path.exists():
        path.write_bytes(bytes(range(32)))
        path.chmod(0o600)
    return path


def settings_for(folder: Path, classifier_port: int, **changes: object) -> Settings:
    settings = Settings(
        classifier_addresses=(f"127.0.0.1:{classifier_port}",),
        event_log="redis://127.0.0.1:1/0",
        data=folder / "gateway",
        pseudonym_key_file=key_file(folder),
        listen="127.0.0.1:0",
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def running_gateway(folder: Path, **changes: object) -> AsyncIterator[Gateway]:
    classifier, log = ScriptedClassifier(), MemoryLog()
    async with classifier_server(classifier) as classifier_port:
        settings = settings_for(folder, classifier_port, **changes)
        async with (
            serve(wiring.build(settings, MemoryPublisher(log))) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            stub = ai_pb2_grpc.AIServiceStub(channel)
            yield Gateway(classifier, log, port, channel, stub, settings)  # type: ignore[arg-type]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path) as gateway:
        yield gateway
