"""What a record survives, in each durability: the event log away, kill -9, a full disk."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
from assay.ai.v1 import ai_pb2, ai_pb2_grpc
from assay.audit.v1 import audit_pb2
from google.rpc import error_details_pb2
from prometheus_client import generate_latest

from cli import symptoms
from cli.ports import free_ports
from services.kernel.errors import Reason
from services.kernel.eventlog.port import AUDIT_TOPIC
from services.kernel.eventlog.redis_streams import RedisSubscription
from tests.fixtures.gateway.classifier import ScriptedClassifier, classifier_server
from tests.fixtures.valkey import ValkeyServer
from tests.integration.gateway.conftest import Gateway, running_gateway
from tests.integration.gateway.processes import GatewayProcess, can_embed
from tests.integration.gateway.test_bad_input import detail, expect, status_of

MODES = ["process", "fsync", "broker"]


async def ask(gateway: Gateway, text: str = "hello") -> str:
    response: ai_pb2.ClassificationResponse = await gateway.stub.ClassifyText(ai_pb2.TextRequest(text=text))
    return response.audit_id


@pytest.mark.parametrize("mode", MODES)
async def test_every_answer_arrives_once_while_the_log_comes_and_goes(tmp_path: Path, mode: str) -> None:
    async with running_gateway(tmp_path, audit_durability=mode, broker_timeout_seconds=0.5) as gateway:
        ids = list(await asyncio.gather(*(ask(gateway, f"up {number}") for number in range(40))))
        gateway.log.down = True
        ids += await asyncio.gather(*(ask(gateway, f"down {number}") for number in range(40)))
        gateway.log.down = False
        ids += await asyncio.gather(*(ask(gateway, f"back {number}") for number in range(40)))
        events = await gateway.events(120)
        assert Counter(event.event_id for event in events) == Counter(ids)


async def test_what_is_wrong_is_measured_as_status_tells_it(tmp_path: Path) -> None:
    changes = {"audit_durability": "broker", "broker_timeout_seconds": 0.5, "outbox_max_events": 5}
    async with running_gateway(tmp_path, **changes) as gateway:
        await ask(gateway)
        assert symptoms.symptoms(symptoms.parse(generate_latest().decode())) == []
        gateway.log.down = True
        for _ in range(5):
            await ask(gateway)
        while len(told := symptoms.symptoms(symptoms.parse(generate_latest().decode()))) < 3:
            await asyncio.sleep(0.01)  # until the relay has tried
        refusing, failing, fallback = told
        assert refusing.startswith("calls are refused")
        assert failing.startswith("the event log can't be reached")
        assert "(5 events so far)" in fallback


async def test_with_the_log_there_an_answer_is_in_it_before_it_leaves(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, audit_durability="broker") as gateway:
        for number in range(20):
            audit_id = await ask(gateway, f"text {number} 0.1")
            published = [event.key for event in gateway.log.events(AUDIT_TOPIC)]
            assert published.count(audit_id) == 1
        assert len(await gateway.reviews(20)) == 20


@pytest.fixture(params=["envoy", "aio"])
def host(request: pytest.FixtureRequest) -> str:
    if request.param == "envoy" and not can_embed():
        pytest.skip("this Python can't run inside Envoy")
    return str(request.param)


@pytest.fixture
async def classifier() -> AsyncIterator[int]:
    async with classifier_server(ScriptedClassifier()) as port:
        yield port


async def load(gateway: GatewayProcess, answered: set[str], enough: int) -> None:
    """Asks on several connections at once until so many answers have come or the gateway is gone."""

    async def one(number: int) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
            stub = ai_pb2_grpc.AIServiceStub(channel)
            while len(answered) < enough:
                try:
                    response = await stub.ClassifyText(ai_pb2.TextRequest(text=f"text {number}"), timeout=10)
                except grpc.aio.AioRpcError:
                    return
                answered.add(response.audit_id)

    await asyncio.gather(*(one(number) for number in range(8)))


@pytest.mark.parametrize("mode", MODES)
async def test_kill_9_of_gateway_and_log_under_load_loses_no_answer(
    tmp_path: Path, classifier: int, valkey: ValkeyServer, host: str, mode: str
) -> None:
    gateway = GatewayProcess(tmp_path, host, classifier, valkey.url, AUDIT_DURABILITY=mode)
    answered: set[str] = set()
    await gateway.start()
    try:
        await load(gateway, answered, 100)
        loading = asyncio.create_task(load(gateway, answered, 1_000_000))
        while len(answered) < 200:
            await asyncio.sleep(0.01)
        valkey.kill()
        while len(answered) < 300:
            await asyncio.sleep(0.01)
        gateway.kill()
        await loading
        valkey.start()
        await gateway.start()
        found = await published(valkey, answered)
    finally:
        gateway.kill()
    assert answered <= found.keys()


async def published(valkey: ValkeyServer, wanted: set[str]) -> Counter[str]:
    """Reads the audit topic until it has all that is wanted; the test's limit ends a wait in vain."""
    found: Counter[str] = Counter()
    subscription = RedisSubscription(valkey.url, AUDIT_TOPIC, "audit", "reader")
    try:
        while not wanted <= found.keys():
            deliveries = await subscription.poll(1000, 1.0)
            found.update(audit_pb2.AuditEvent.FromString(each.event.payload).event_id for each in deliveries)
            await subscription.commit(deliveries)
    finally:
        await subscription.close()
    return found


@pytest.mark.parametrize("mode", ["process", "fsync"])
async def test_a_full_disk_refuses_every_call_and_is_survived(
    tmp_path: Path, classifier: int, host: str, mode: str
) -> None:
    gateway = GatewayProcess(
        tmp_path,
        host,
        classifier,
        f"redis://127.0.0.1:{free_ports(1)[0]}/0",
        AUDIT_DURABILITY=mode,
        LOG_LEVEL="critical",
    )
    await gateway.start()
    try:
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel,
            httpx.AsyncClient(base_url=gateway.url, trust_env=False) as rest,
        ):
            stub = ai_pb2_grpc.AIServiceStub(channel)
            answered = {(await stub.ClassifyText(ai_pb2.TextRequest(text="before"))).audit_id}
            # Whatever is longer can't be written any more, as on a disk without room.
            resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            for text in ("during", "", "doubtful 0.1"):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await stub.ClassifyText(ai_pb2.TextRequest(text=text))
                expect(raised.value, Reason.AUDIT_UNAVAILABLE, {"part": "outbox"})
                assert detail(status_of(raised.value), error_details_pb2.RetryInfo()).retry_delay.seconds == 5
            refused = await rest.post("/v1/ai-services/text-classification", json={"text": "during"})
            assert refused.status_code == 503
            resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            async with asyncio.timeout(20):
                while len(answered) < 3:
                    try:
                        answered.add((await stub.ClassifyText(ai_pb2.TextRequest(text="after"))).audit_id)
                    except grpc.aio.AioRpcError as error:
                        expect(error, Reason.AUDIT_UNAVAILABLE, {"part": "outbox"})
                        await asyncio.sleep(0.1)
        kept = [event for event in gateway.outbox() if event.WhichOneof("outcome") == "answer"]
        assert Counter(event.event_id for event in kept) == Counter(answered)
    finally:
        gateway.kill()
