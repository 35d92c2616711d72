"""When something around the gateway is stuck, dead, wrong or full."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import grpc
import pytest
from assay.ai.v1 import ai_pb2, ai_pb2_grpc
from assay.classifier.v1 import classifier_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.gateway import wiring
from services.kernel.errors import Reason
from services.kernel.eventlog.memory import MemoryLog, MemoryPublisher
from services.kernel.eventlog.port import AUDIT_TOPIC
from services.kernel.hosting.aio import serve
from tests.fixtures.gateway.classifier import ScriptedClassifier, classifier_server
from tests.integration.gateway.conftest import Gateway, running_gateway, settings_for
from tests.integration.gateway.test_bad_input import expect

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def health(gateway: Gateway, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(gateway.channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(response.status)


async def until(gateway: Gateway, service: str, status: int) -> None:
    async with asyncio.timeout(10):
        while await health(gateway, service) != status:
            await asyncio.sleep(0.05)


async def ask(gateway: Gateway, text: str = "hello") -> ai_pb2.ClassificationResponse:
    return await gateway.stub.ClassifyText(ai_pb2.TextRequest(text=text))


async def test_a_dead_classifier_is_unavailable_and_found_again_when_it_is_back(tmp_path: Path) -> None:
    log = MemoryLog()
    async with classifier_server(ScriptedClassifier()) as port:
        settings = settings_for(tmp_path, port)
    async with (
        serve(wiring.build(settings, MemoryPublisher(log))) as public,
        grpc.aio.insecure_channel(f"127.0.0.1:{public}") as channel,
    ):
        gateway = Gateway(ScriptedClassifier(), log, public, channel, ai_pb2_grpc.AIServiceStub(channel), settings)  # type: ignore[arg-type]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(gateway)
        expect(raised.value, Reason.PART_UNAVAILABLE, {"part": "classifier"})
        assert await health(gateway, "") == NOT_SERVING
        assert await health(gateway, "classifier") == NOT_SERVING
        assert await health(gateway, "outbox") == SERVING
        (event,) = await gateway.events(1)
        assert event.error.reason == Reason.PART_UNAVAILABLE
        async with classifier_server(gateway.classifier, port):
            await until(gateway, "", SERVING)
            assert (await ask(gateway)).label == "echo:hello"


async def test_one_of_two_classifiers_is_enough(tmp_path: Path) -> None:
    async with classifier_server(ScriptedClassifier()) as dead:
        pass
    async with running_gateway(tmp_path) as gateway:
        living = gateway.settings.classifier_addresses[0]
        settings = settings_for(tmp_path, 0, data=tmp_path / "two", classifier_addresses=(f"127.0.0.1:{dead}", living))
        async with (
            serve(wiring.build(settings, MemoryPublisher(MemoryLog()))) as public,
            grpc.aio.insecure_channel(f"127.0.0.1:{public}") as channel,
        ):
            stub = ai_pb2_grpc.AIServiceStub(channel)
            for _ in range(5):
                assert (await stub.ClassifyText(ai_pb2.TextRequest(text="hello"))).label == "echo:hello"


@pytest.mark.parametrize("confidence", [float("nan"), float("inf")])
async def test_a_confidence_that_is_none_is_no_answer(gateway: Gateway, confidence: float) -> None:
    gateway.classifier.answer = lambda item: classifier_pb2.ClassifyResult(
        classification=classifier_pb2.Classification(label="x", confidence=confidence, model="intent")
    )
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await ask(gateway)
    expect(raised.value, Reason.INTERNAL, {})


async def test_too_few_results_are_nobodys(gateway: Gateway) -> None:
    gateway.classifier.short_by = 1
    gateway.classifier.delay = 0.05
    results = await asyncio.gather(*(ask(gateway, f"text {number}") for number in range(10)), return_exceptions=True)
    for result in results:
        assert isinstance(result, grpc.aio.AioRpcError)
        expect(result, Reason.INTERNAL, {})
    assert len(await gateway.events(10)) == 10


async def test_a_stuck_classifier_holds_a_bounded_queue(tmp_path: Path) -> None:
    limits = {"max_waiting_texts": 20, "micro_batch_texts": 5, "micro_batch_slow_calls": 0}
    async with running_gateway(tmp_path, **limits) as gateway:
        gateway.classifier.stuck.clear()
        calls = [asyncio.ensure_future(ask(gateway, f"text {number}")) for number in range(60)]
        # Places for 30 texts: the queue, and two calls of up to five; the rest is refused.
        while sum(call.done() for call in calls) < 30:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        done, waiting = ([call for call in calls if call.done() is ended] for ended in (True, False))
        assert 22 <= len(waiting) <= 30
        for call in done:
            error = call.exception()
            assert isinstance(error, grpc.aio.AioRpcError)
            expect(error, Reason.OVERLOADED, {"part": "gateway", "limit": "20"})
        gateway.classifier.stuck.set()
        answers = await asyncio.gather(*waiting)
        assert len({answer.label for answer in answers}) == len(waiting)
        assert len(await gateway.events(60)) == 60


async def test_without_the_event_log_it_serves_and_keeps(gateway: Gateway) -> None:
    gateway.log.down = True
    await until(gateway, "eventlog", NOT_SERVING)
    assert await health(gateway, "") == SERVING
    ids = {(await ask(gateway, f"text {number}")).audit_id for number in range(20)}
    assert not gateway.log.topic(AUDIT_TOPIC)
    gateway.log.down = False
    events = await gateway.events(20)
    assert {event.event_id for event in events} == ids


async def test_a_full_outbox_refuses_before_the_work_and_says_so(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, outbox_max_events=5) as gateway:
        gateway.log.down = True
        for _ in range(5):
            await ask(gateway, "sure")
        batches = len(gateway.classifier.batches)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(gateway)
        expect(raised.value, Reason.AUDIT_UNAVAILABLE, {"part": "outbox"})
        assert len(gateway.classifier.batches) == batches
        await until(gateway, "outbox", NOT_SERVING)
        assert await health(gateway, "") == NOT_SERVING
        gateway.log.down = False
        await until(gateway, "", SERVING)
        await ask(gateway)
        assert len(await gateway.events(6)) == 6


async def test_an_answer_that_can_not_be_recorded_does_not_leave(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.gateway.adapters.outbox_sqlite import SqliteOutbox
    from services.gateway.ports import OutboxUnavailable

    def broken(*_: object) -> None:
        raise OutboxUnavailable("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteOutbox, "append", broken)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(gateway)
        expect(raised.value, Reason.AUDIT_UNAVAILABLE, {"part": "outbox"})
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.stub.ClassifyText(ai_pb2.TextRequest())
        expect(raised.value, Reason.AUDIT_UNAVAILABLE, {"part": "outbox"})
    assert (await ask(gateway)).label == "echo:hello"
    assert len(await gateway.events(1)) == 1


async def test_no_text_is_logged_and_what_is_kept_of_it_is_masked(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    canaries = ["CANARYTEXT 13912345678", "CANARYTEXT doubtful 13912345678 0.1", "CANARYTEXT " * 600]
    with caplog.at_level(logging.DEBUG):
        for canary in canaries:
            with pytest.raises(grpc.aio.AioRpcError):
                await gateway.stub.ClassifyText(ai_pb2.TextRequest(text=canary, model="13912345678"))
        gateway.classifier.short_by = 1
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(gateway, canaries[1])
        gateway.classifier.short_by = 0
        gateway.classifier.answer = lambda item: classifier_pb2.ClassifyResult(
            classification=classifier_pb2.Classification(label="x", confidence=0.1, model="intent")
        )
        await ask(gateway, canaries[0])
        await ask(gateway, canaries[1])
        await gateway.events(6)
        await gateway.reviews(2)
    kept = b"".join(event.payload for event in gateway.log.topic("assay.audit.v1"))
    reviews = b"".join(event.payload for event in gateway.log.topic("assay.review.v1"))
    assert b"13912345678" not in kept + reviews
    assert "CANARYTEXT" not in caplog.text
    assert "13912345678" not in caplog.text
    assert "CANARYTEXT" not in str([vars(record) for record in caplog.records])
