"""Every bad input has its error with details, and its record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from assay.ai.v1 import ai_pb2
from assay.errors.v1 import errors_pb2
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from services.kernel.errors import CATALOGUE, Reason
from services.kernel.faults import Fault
from services.kernel.status import DETAILS_KEY
from tests.integration.gateway.conftest import Gateway, running_gateway

SERVICE = "/assay.ai.v1.AIService"


@dataclass(frozen=True)
class Case:
    name: str
    request: ai_pb2.TextRequest
    reason: Reason
    metadata: dict[str, str]


CASES = [
    Case("empty", ai_pb2.TextRequest(), Reason.TEXT_BLANK, {"field": "text"}),
    Case("blank", ai_pb2.TextRequest(text=" \u3000\u200b\n"), Reason.TEXT_BLANK, {"field": "text"}),
    Case(
        "too many tokens",
        ai_pb2.TextRequest(text="word " * 613, model="banking"),
        Reason.TEXT_TOO_LONG,
        {"field": "text", "tokens": "613", "limit": "512", "model": "banking", "model_version": "v1.0.0"},
    ),
    Case(
        "too many bytes",
        ai_pb2.TextRequest(text="x" * 65_537),
        Reason.TEXT_TOO_LARGE,
        {"field": "text", "bytes": "65537", "limit": "65536"},
    ),
    Case(
        "unknown model",
        ai_pb2.TextRequest(text="x", model="bankin"),
        Reason.MODEL_UNKNOWN,
        {"field": "model", "value": "bankin", "known": "banking, intent, sentiment, triage"},
    ),
    Case(
        "unknown version",
        ai_pb2.TextRequest(text="x", model="banking", model_version="v9"),
        Reason.MODEL_VERSION_UNKNOWN,
        {"field": "model_version", "value": "v9", "model": "banking", "known": "v1.0.0"},
    ),
    Case(
        "no version",
        ai_pb2.TextRequest(text="x", model_version="latest"),
        Reason.MODEL_VERSION_INVALID,
        {"field": "model_version", "value": "latest"},
    ),
    Case(
        "unknown industry",
        ai_pb2.TextRequest(text="x", industry="farming"),
        Reason.INDUSTRY_UNKNOWN,
        {"field": "industry", "value": "farming", "known": "finance, general, medical"},
    ),
    Case(
        "contradicting industry",
        ai_pb2.TextRequest(text="x", model="banking", industry="medical"),
        Reason.INDUSTRY_MISMATCH,
        {"field": "industry", "value": "medical", "model": "banking", "model_industry": "finance"},
    ),
    Case(
        "request id",
        ai_pb2.TextRequest(text="x", request_id="编号"),
        Reason.FIELD_INVALID,
        {
            "field": "request_id",
            "value": "2 characters with others than printable ASCII",
            "limit": "up to 128 printable ASCII characters",
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_one_text(gateway: Gateway, case: Case) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.stub.ClassifyText(case.request, metadata=(("x-assay-caller", "tester"),))
    expect(raised.value, case.reason, case.metadata)
    (event,) = await gateway.events(1)
    assert event.error.reason == case.reason
    assert dict(event.error.metadata) == case.metadata
    assert (event.caller, event.method) == ("tester", f"{SERVICE}/ClassifyText")
    assert event.input.bytes == len(case.request.text.encode())
    assert len(event.input.text_hmac) == (32 if case.request.text else 0)
    assert event.model == case.request.model


async def test_the_same_in_a_batch_names_the_item(gateway: Gateway) -> None:
    request = ai_pb2.BatchClassifyTextRequest(requests=[case.request for case in CASES])
    response = await gateway.stub.BatchClassifyText(request)
    for index, (case, result) in enumerate(zip(CASES, response.results, strict=True)):
        info = detail(result.error, error_details_pb2.ErrorInfo())
        assert info.reason == case.reason.name
        assert dict(info.metadata) == {**case.metadata, "field": f"requests[{index}].{case.metadata['field']}"}
    assert len(await gateway.events(len(CASES))) == len(CASES)


async def test_the_same_on_a_stream_is_an_answer_and_the_stream_goes_on(gateway: Gateway) -> None:
    async def ask() -> AsyncIterator[ai_pb2.StreamClassifyTextRequest]:
        for case in CASES:
            yield ai_pb2.StreamClassifyTextRequest(id=case.name, request=case.request)
        yield ai_pb2.StreamClassifyTextRequest(id="x" * 129, request=ai_pb2.TextRequest(text="fine"))
        yield ai_pb2.StreamClassifyTextRequest(id="nothing")
        yield ai_pb2.StreamClassifyTextRequest(id="fine", request=ai_pb2.TextRequest(text="fine"))

    answers = {answer.id: answer async for answer in gateway.stub.StreamClassifyText(ask())}
    for case in CASES:
        info = detail(answers[case.name].error, error_details_pb2.ErrorInfo())
        assert info.reason == case.reason.name
        assert info.metadata["field"] == f"request.{case.metadata['field']}"
    assert detail(answers["x" * 129].error, error_details_pb2.ErrorInfo()).metadata["field"] == "id"
    assert detail(answers["nothing"].error, error_details_pb2.ErrorInfo()).reason == "TEXT_BLANK"
    assert answers["fine"].response.label == "echo:fine"
    assert len(await gateway.events(len(CASES) + 3)) == len(CASES) + 3


@pytest.mark.parametrize("key", ["x-assay-tenant", "x-assay-subject"])
@pytest.mark.parametrize("kind", ["text", "batch", "stream", "models"])
async def test_a_bad_tenant_or_person_refuses_the_call_as_a_whole(gateway: Gateway, key: str, kind: str) -> None:
    metadata = ((key, "13800138000" * 30), ("x-assay-caller", "tester"))
    text = ai_pb2.TextRequest(text="fine")
    stub = gateway.stub
    items = iter([ai_pb2.StreamClassifyTextRequest(id="1", request=text)])
    call = {
        "text": lambda: stub.ClassifyText(text, metadata=metadata),
        "batch": lambda: stub.BatchClassifyText(ai_pb2.BatchClassifyTextRequest(requests=[text]), metadata=metadata),
        "stream": lambda: stub.StreamClassifyText(items, metadata=metadata).read(),
        "models": lambda: stub.ListModels(ai_pb2.ListModelsRequest(), metadata=metadata),
    }[kind]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call()
    expect(raised.value, Reason.FIELD_INVALID, None)
    (event,) = await gateway.events(1)
    assert event.error.metadata["field"] == key
    assert (event.caller, event.tenant, event.subject) == ("tester", "default", "")
    assert gateway.classifier.batches == []


@pytest.mark.parametrize(
    ("texts", "reason"), [(0, Reason.BATCH_EMPTY), (257, Reason.BATCH_TOO_LARGE)], ids=["empty", "too large"]
)
async def test_a_batch_of_a_wrong_size_is_refused_as_a_whole(gateway: Gateway, texts: int, reason: Reason) -> None:
    request = ai_pb2.BatchClassifyTextRequest(requests=[ai_pb2.TextRequest(text="x")] * texts)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.stub.BatchClassifyText(request)
    expect(raised.value, reason, None)
    (event,) = await gateway.events(1)
    assert event.error.reason == reason
    assert gateway.classifier.batches == []


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_what_is_not_utf8_or_no_message_is_refused(gateway: Gateway, kind: str) -> None:
    unreadable = b"\x0a\x02\xc3\x28" if kind == "unary" else b"\x12\x04\x0a\x02\xc3\x28"
    if kind == "unary":
        call = raw(gateway.channel.unary_unary, "ClassifyText")(unreadable)
    else:
        call = raw(gateway.channel.stream_stream, "StreamClassifyText")(iter([unreadable])).read()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    expect(raised.value, Reason.MESSAGE_MALFORMED, {"field": "request", "fault": Fault.MESSAGE.english})
    (event,) = await gateway.events(1)
    assert event.error.reason == errors_pb2.ERROR_REASON_MESSAGE_MALFORMED
    assert event.WhichOneof("outcome") == "error"


async def test_an_unknown_method_is_refused_and_recorded(gateway: Gateway) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await raw(gateway.channel.unary_unary, "Nope13800138000")(b"", metadata=(("x-assay-caller", "curious"),))
    expect(raised.value, Reason.METHOD_UNKNOWN, {"method": f"{SERVICE}/[hidden]"})
    (event,) = await gateway.events(1)
    assert event.caller == "curious"
    assert "13800138000" not in str(event)


async def test_a_deadline_that_is_past_is_refused_and_recorded(gateway: Gateway) -> None:
    gateway.classifier.stuck.clear()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.stub.ClassifyText(ai_pb2.TextRequest(text="late"), timeout=0.2)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    (event,) = await gateway.events(1)
    assert event.error.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED
    # Nobody waits for the answer any more, so the classifier is told to stop.
    async with asyncio.timeout(5):
        while not gateway.classifier.cancelled:
            await asyncio.sleep(0.01)


async def test_a_call_without_a_deadline_has_one_all_the_same(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, default_deadline_seconds=0.2) as gateway:
        gateway.classifier.stuck.clear()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.stub.ClassifyText(ai_pb2.TextRequest(text="late"))
        expect(raised.value, Reason.DEADLINE_EXCEEDED, {})
        (event,) = await gateway.events(1)
        assert event.error.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED


async def test_a_caller_that_hangs_up_is_recorded_once_and_its_work_stopped(gateway: Gateway) -> None:
    gateway.classifier.stuck.clear()
    call = gateway.stub.ClassifyText(ai_pb2.TextRequest(text="never mind"))
    async with asyncio.timeout(5):
        while not gateway.classifier.batches:
            await asyncio.sleep(0.01)
    call.cancel()
    (event,) = await gateway.events(1)
    assert event.error.reason == errors_pb2.ERROR_REASON_CANCELLED
    async with asyncio.timeout(5):
        while not gateway.classifier.cancelled:
            await asyncio.sleep(0.01)


async def test_a_hung_up_batch_is_recorded_text_by_text(gateway: Gateway) -> None:
    gateway.classifier.stuck.clear()
    requests = [ai_pb2.TextRequest(text=f"text {number}") for number in range(20)]
    call = gateway.stub.BatchClassifyText(ai_pb2.BatchClassifyTextRequest(requests=requests))
    async with asyncio.timeout(5):
        while not gateway.classifier.batches:
            await asyncio.sleep(0.01)
    call.cancel()
    events = await gateway.events(20)
    assert len(events) == 20
    assert {event.error.reason for event in events} == {errors_pb2.ERROR_REASON_CANCELLED}


async def test_a_hung_up_stream_is_recorded_item_by_item(gateway: Gateway) -> None:
    gateway.classifier.stuck.clear()
    call = gateway.stub.StreamClassifyText()
    for number in range(10):
        await call.write(ai_pb2.StreamClassifyTextRequest(id=str(number), request=ai_pb2.TextRequest(text="x")))
    async with asyncio.timeout(5):
        while not gateway.classifier.batches:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    call.cancel()
    events = await gateway.events(10)
    assert len(events) == 10


async def test_words_are_chinese_for_who_asks_for_them(gateway: Gateway) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.stub.ClassifyText(ai_pb2.TextRequest(), metadata=(("accept-language", "zh-CN,en;q=0.5"),))
    words = detail(status_of(raised.value), error_details_pb2.LocalizedMessage())
    assert (words.locale, words.message) == ("zh-CN", "text 为空；请至少输入一个可见字符")


def raw(make: Callable[..., grpc.aio.UnaryUnaryMultiCallable], method: str) -> Callable[..., grpc.aio.Call]:
    return make(f"{SERVICE}/{method}", request_serializer=bytes, response_deserializer=bytes)  # type: ignore[return-value]


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    found = [value for key, value in error.trailing_metadata() or () if key == DETAILS_KEY]
    assert len(found) == 1
    return status_pb2.Status.FromString(found[0])


def detail(status: status_pb2.Status, message):  # type: ignore[no-untyped-def]
    found = [packed for packed in status.details if packed.Is(message.DESCRIPTOR)]
    assert len(found) == 1, f"{len(found)} {message.DESCRIPTOR.name}"
    found[0].Unpack(message)
    return message


def expect(error: grpc.aio.AioRpcError, reason: Reason, metadata: dict[str, str] | None) -> None:
    """Checks code and every detail that the catalogue promises."""
    spec = CATALOGUE[reason]
    status = status_of(error)
    assert error.code().value[0] == status.code == int(spec.code)
    info = detail(status, error_details_pb2.ErrorInfo())
    assert (info.reason, info.domain) == (reason.name, "assay")
    if metadata is not None:
        assert dict(info.metadata) == metadata
    assert "?" not in status.message
    assert detail(status, error_details_pb2.LocalizedMessage()).locale == "en"
    if spec.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]:
        (violation,) = detail(status, error_details_pb2.BadRequest()).field_violations
        assert violation.field == info.metadata["field"]
    if spec.retry_seconds is not None:
        assert detail(status, error_details_pb2.RetryInfo()).retry_delay != duration_pb2.Duration()
