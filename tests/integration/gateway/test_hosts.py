"""The gateway at its public port, on both hosts: gRPC and REST mean the same, and every call has its record."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from assay.ai.v1 import ai_pb2, ai_pb2_grpc
from google.protobuf import json_format

from cli.ports import free_ports
from services.kernel.errors import Reason
from services.kernel.eventlog.port import AUDIT_TOPIC
from services.kernel.eventlog.redis_streams import RedisSubscription
from services.kernel.status import HTTP_STATUS
from tests.fixtures.gateway.classifier import ScriptedClassifier, classifier_server
from tests.fixtures.valkey import ValkeyServer
from tests.integration.gateway.processes import GatewayProcess, can_embed
from tests.integration.gateway.test_bad_input import CASES, Case, status_of

PATH = "/v1/ai-services/text-classification"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["envoy", "aio"])
def host(request: pytest.FixtureRequest) -> str:
    if request.param == "envoy" and not can_embed():
        pytest.skip("this Python can't run inside Envoy")
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(host: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """Its event log is away, so that every record can be read in the outbox."""
    async with classifier_server(ScriptedClassifier()) as classifier:
        folder = tmp_path_factory.mktemp(f"gateway-{host}")
        process = GatewayProcess(folder, host, classifier, f"redis://127.0.0.1:{free_ports(1)[0]}/0")
        await process.start()
        try:
            yield process
            assert await process.stop() == 0, process.log[-3000:]
        finally:
            process.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rest(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(gateway: GatewayProcess) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        yield ai_pb2_grpc.AIServiceStub(channel)


# How many records each caller must have in the end, by gateway.
_EXPECTED: dict[str, dict[str, int]] = {}


async def records(gateway: GatewayProcess, caller: str, count: int = 1) -> list[Any]:
    """Waits until a caller has so many records; that it has no more is looked at in the end."""
    _EXPECTED.setdefault(gateway.url, {})[caller] = count
    async with asyncio.timeout(15):
        while True:
            found = [event for event in gateway.outbox() if event.caller == caller]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)


async def some_records(gateway: GatewayProcess, caller: str, most: int) -> list[Any]:
    """Waits until a caller has records, at most so many; that they get no more is looked at in the end."""
    await records(gateway, caller)
    await asyncio.sleep(1.0)
    found = [event for event in gateway.outbox() if event.caller == caller]
    assert len(found) <= most
    _EXPECTED[gateway.url][caller] = len(found)
    return found


async def test_both_ways_give_the_same_answer(gateway: GatewayProcess, rest: httpx.AsyncClient, stub: Any) -> None:
    request = {"text": "我的卡丢了 0.4", "model": "banking", "model_version": "v1", "request_id": "r-1"}
    headers = {"x-assay-caller": "both ways"}
    over_rest = (await rest.post(PATH, json=request, headers=headers)).json()
    over_grpc = json_format.MessageToDict(
        await stub.ClassifyText(ai_pb2.TextRequest(**request), metadata=tuple(headers.items())),
        preserving_proto_field_name=True,
    )
    for own in ("audit_id", "review_task_id"):
        assert over_rest.pop(own) != over_grpc.pop(own)
    assert over_rest == over_grpc
    assert over_rest["label"] == "echo:我的卡丢了 0.4"
    first, second = await records(gateway, "both ways", 2)
    assert first.method == second.method == "/assay.ai.v1.AIService/ClassifyText"
    assert first.input == second.input


async def test_a_batch_over_rest(gateway: GatewayProcess, rest: httpx.AsyncClient) -> None:
    body = {"requests": [{"text": "one"}, {"text": ""}]}
    response = await rest.post(f"{PATH}:batch", json=body, headers={"x-assay-caller": "batch"})
    good, bad = response.json()["results"]
    assert good["response"]["label"] == "echo:one"
    assert bad["error"]["code"] == 3
    assert bad["error"]["details"][0]["reason"] == "TEXT_BLANK"
    await records(gateway, "batch", 2)


async def test_models_over_rest(gateway: GatewayProcess, rest: httpx.AsyncClient) -> None:
    response = await rest.get("/v1/ai-services/models?industry=medical", headers={"x-assay-caller": "models"})
    assert [model["name"] for model in response.json()["models"]] == ["triage"]
    await records(gateway, "models")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bad_input_means_the_same_both_ways(
    gateway: GatewayProcess, rest: httpx.AsyncClient, stub: Any, case: Case
) -> None:
    caller = f"bad {case.name}"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ClassifyText(case.request, metadata=(("x-assay-caller", caller),))
    over_grpc = json_format.MessageToDict(status_of(raised.value), preserving_proto_field_name=True)
    body = json_format.MessageToDict(case.request, preserving_proto_field_name=True)
    response = await rest.post(PATH, json=body, headers={"x-assay-caller": caller})
    assert response.json() == over_grpc
    assert response.status_code == HTTP_STATUS[over_grpc["code"]]
    assert over_grpc["details"][0]["metadata"] == case.metadata
    for event in await records(gateway, caller, 2):
        assert event.error.reason == case.reason


@pytest.mark.parametrize(
    ("name", "send", "status", "reason"),
    [
        ("json cut short", lambda rest, h: rest.post(PATH, content='{"text": "x', headers=h), 400, "MESSAGE_MALFORMED"),
        ("no json", lambda rest, h: rest.post(PATH, content="text=x", headers=h), 400, "MESSAGE_MALFORMED"),
        ("empty body", lambda rest, h: rest.post(PATH, content="", headers=h), 400, None),
        ("an array", lambda rest, h: rest.post(PATH, json=["x"], headers=h), 400, "MESSAGE_MALFORMED"),
        ("a number", lambda rest, h: rest.post(PATH, json={"text": 7}, headers=h), 400, "MESSAGE_MALFORMED"),
        (
            "not utf-8",
            lambda rest, h: rest.post(PATH, content=b'{"text": "\xff\xfe"}', headers=h),
            400,
            "MESSAGE_MALFORMED",
        ),
        (
            "unknown field",
            lambda rest, h: rest.post(PATH, json={"text": "x", "nope": 1}, headers=h),
            400,
            "MESSAGE_MALFORMED",
        ),
        ("unknown path", lambda rest, h: rest.get("/v1/nope", headers=h), 404, "METHOD_UNKNOWN"),
        ("another verb", lambda rest, h: rest.get(PATH, headers=h), 404, "METHOD_UNKNOWN"),
        (
            "no number",
            lambda rest, h: rest.get("/v1/ai-services/models?page_size=x", headers=h),
            400,
            "MESSAGE_MALFORMED",
        ),
        (
            "unknown query",
            lambda rest, h: rest.get("/v1/ai-services/models?nope=x", headers=h),
            400,
            "MESSAGE_MALFORMED",
        ),
        (
            "huge body",
            lambda rest, h: rest.post(PATH, json={"text": "x" * 5_000_000}, headers=h),
            413,
            "MESSAGE_TOO_LARGE",
        ),
        ("empty batch", lambda rest, h: rest.post(f"{PATH}:batch", json={}, headers=h), 400, "BATCH_EMPTY"),
        (
            "large batch",
            lambda rest, h: rest.post(f"{PATH}:batch", json={"requests": [{"text": "x"}] * 257}, headers=h),
            400,
            "BATCH_TOO_LARGE",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
async def test_what_only_rest_can_get_wrong(
    gateway: GatewayProcess,
    rest: httpx.AsyncClient,
    name: str,
    send: Callable[..., Any],
    status: int,
    reason: str | None,
) -> None:
    caller = f"rest {name}"
    response = await send(rest, {"x-assay-caller": caller})
    assert response.status_code == status, response.text
    error = json.loads(response.text)
    (info,) = [found for found in error["details"] if found["@type"].endswith("ErrorInfo")]
    assert info["domain"] == "assay"
    if reason is not None:
        assert info["reason"] == reason
    (event,) = await records(gateway, caller)
    assert event.WhichOneof("outcome") == "error"


async def test_what_is_wrong_is_in_the_audit_event_too(gateway: GatewayProcess, rest: httpx.AsyncClient) -> None:
    body = {"requests": [{"text": "x"}, {"text": 7}, {"13800138000": 1}]}
    response = await rest.post(f"{PATH}:batch", json=body, headers={"x-assay-caller": "wrong type"})
    metadata = {"field": "requests[1].text", "fault": "it is a number; it must be a string"}
    assert response.json()["details"][0]["metadata"] == metadata
    (event,) = await records(gateway, "wrong type")
    assert event.error.reason == Reason.MESSAGE_MALFORMED
    assert dict(event.error.metadata) == metadata
    # A name that the caller made up is in the answer only, and there only if it can't be anyone's number.
    body["requests"].pop(1)
    response = await rest.post(f"{PATH}:batch", json=body, headers={"x-assay-caller": "unknown name"})
    assert response.json()["details"][0]["metadata"]["field"] == "requests[1].[hidden]"
    (event,) = await records(gateway, "unknown name")
    assert event.error.metadata["field"] == "requests[1]"
    assert "13800138000" not in str(event)


async def test_an_unknown_method_over_grpc(gateway: GatewayProcess) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        for path in ("/assay.ai.v1.AIService/Nope", "/no.such.Service/Nope"):
            call = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(b"", metadata=(("x-assay-caller", f"method {path}"),))
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
            (event,) = await records(gateway, f"method {path}")
            assert event.method == path


async def test_a_deadline_that_is_past_on_arrival(gateway: GatewayProcess, host: str) -> None:
    # grpc.aio counts in whole milliseconds, so an answer within the first is in time. Now and then it ends such a call
    # itself before any code of ours runs (docs/hosting.md): no record then.
    attempts = 1 if host == "envoy" else 20
    answered = 0
    message = ai_pb2.TextRequest(text="too late").SerializeToString()
    headers = {
        "content-type": "application/grpc",
        "te": "trailers",
        "grpc-timeout": "1n",
        "x-assay-caller": "too late",
    }
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, http1=False, http2=True) as client:
        for _ in range(attempts):
            response = await client.post(
                "/assay.ai.v1.AIService/ClassifyText",
                content=b"\0" + len(message).to_bytes(4, "big") + message,
                headers=headers,
            )
            # In a response without a message the trailers are the headers; otherwise this client does not show them.
            answered += bool(response.content)
            assert response.content or response.headers.get("grpc-status", "4") == "4"
    if host == "envoy":
        assert not answered
        events = await records(gateway, "too late")
    else:
        events = await some_records(gateway, "too late", attempts)
    refused = [event for event in events if event.HasField("error")]
    assert all(event.error.reason == Reason.DEADLINE_EXCEEDED for event in refused)
    assert len(events) - len(refused) >= answered


async def test_a_stream_at_the_public_port(gateway: GatewayProcess, stub: Any) -> None:
    async def ask() -> AsyncIterator[ai_pb2.StreamClassifyTextRequest]:
        for number in range(50):
            text = f"item {number}" if number % 10 else " "
            yield ai_pb2.StreamClassifyTextRequest(id=str(number), request=ai_pb2.TextRequest(text=text))

    answers = [answer async for answer in stub.StreamClassifyText(ask(), metadata=(("x-assay-caller", "stream"),))]
    assert sorted(int(answer.id) for answer in answers) == list(range(50))
    await records(gateway, "stream", 50)


async def test_nothing_of_a_text_is_logged(gateway: GatewayProcess, rest: httpx.AsyncClient, stub: Any) -> None:
    canary = "CANARY13912345678"
    await stub.ClassifyText(ai_pb2.TextRequest(text=canary))
    await rest.post(PATH, content=f'{{"text": "{canary}')
    await rest.get(f"/v1/{canary}?text={canary}")
    await asyncio.sleep(0.5)
    assert canary not in gateway.log
    edge = (gateway.folder / "gateway" / "edge" / "edge.jsonl").read_text()
    assert f"text={canary}" not in edge
    assert f'"{canary}' not in edge


async def test_no_call_has_been_recorded_twice(gateway: GatewayProcess) -> None:
    await asyncio.sleep(1.0)
    counts = Counter(event.caller for event in gateway.outbox())
    expected = _EXPECTED[gateway.url]
    assert {caller: counts[caller] for caller in expected} == expected


async def test_kill_9_loses_nothing_that_was_answered(host: str, tmp_path: Path) -> None:
    """Answers are taken while the event log is away; the gateway is killed under load; the next one delivers them."""
    valkey = ValkeyServer(tmp_path)
    valkey.start()
    valkey.kill()
    async with classifier_server(ScriptedClassifier()) as classifier:
        process = GatewayProcess(tmp_path, host, classifier, valkey.url)
        await process.start()
        answered: set[str] = set()

        async def ask(stub: Any, worker: int) -> None:
            while True:
                request = ai_pb2.TextRequest(text=f"worker {worker} says hello")
                answered.add((await stub.ClassifyText(request)).audit_id)

        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
                stub = ai_pb2_grpc.AIServiceStub(channel)
                workers = [asyncio.create_task(ask(stub, worker)) for worker in range(8)]
                async with asyncio.timeout(30):
                    while len(answered) < 400:
                        await asyncio.sleep(0.01)
                process.kill()
                await asyncio.gather(*workers, return_exceptions=True)
            valkey.start()
            await process.start()
            arrived = await _arrived(valkey.url, answered)
            assert answered <= set(arrived)
            assert len(arrived) == len(set(arrived))
            assert await process.stop() == 0
        finally:
            process.kill()
            valkey.kill()


async def _arrived(url: str, wanted: set[str]) -> list[str]:
    subscription = RedisSubscription(url, AUDIT_TOPIC, "test", "one")
    arrived: list[str] = []
    async with asyncio.timeout(30):
        while not wanted <= set(arrived):
            deliveries = await subscription.poll(500, 0.5)
            arrived += [delivery.event.key for delivery in deliveries]
            await subscription.commit(deliveries)
    await subscription.close()
    return arrived
