"""The way of an answer: label, record, review."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from assay.ai.v1 import ai_pb2
from assay.classifier.v1 import classifier_pb2
from google.rpc import error_details_pb2
from prometheus_client import REGISTRY

from services.gateway.tenants import Tenants
from services.kernel.eventlog.port import AUDIT_TOPIC, REVIEW_TOPIC
from tests.integration.gateway.conftest import Gateway, running_gateway

METHOD = "/assay.ai.v1.AIService/ClassifyText"


async def test_an_answer_has_exactly_one_record_that_tells_all_but_the_text(gateway: Gateway) -> None:
    text = "where is my card 0.93"
    answer = await gateway.stub.ClassifyText(
        ai_pb2.TextRequest(text=text, model="banking", request_id="r-1"), metadata=(("x-assay-caller", "teller-7"),)
    )
    assert answer.label == f"echo:{text}"
    assert answer.confidence == pytest.approx(0.93)
    assert (answer.model, answer.model_version, answer.request_id) == ("banking", "v1.0.0", "r-1")
    assert answer.review_task_id == ""
    (event,) = await gateway.events(1)
    assert event.event_id == answer.audit_id
    assert (event.caller, event.method, event.request_id) == ("teller-7", METHOD, "r-1")
    assert (event.model, event.model_version, event.industry) == ("banking", "v1.0.0", "finance")
    pseudonyms = Tenants(bytes(range(32))).of("default").pseudonyms
    assert event.input.text_hmac == pseudonyms.of_text(text.encode())
    assert event.input.bytes == len(text)
    assert event.input.tokens == 5
    assert event.answer.label == answer.label
    assert event.answer.confidence == pytest.approx(0.93)
    assert event.latency.nanos > 0
    assert event.create_time.seconds > 1_600_000_000
    assert not gateway.log.topic("assay.review.v1")


async def test_a_record_holds_tenant_person_and_text_without_personal_data(gateway: Gateway) -> None:
    metadata = (
        ("x-assay-tenant", "bank"),
        ("x-assay-subject", "li.wei@example.com"),
        ("x-assay-caller", "wang@example.com"),
    )
    texts = ["我的手机号是13800138000，请回电", "x" * 65_537, " "]
    gateway.classifier.answer = lambda item: classifier_pb2.ClassifyResult(
        classification=classifier_pb2.Classification(label="x", confidence=0.2, model="intent")
    )
    ids = ["550e8400-e29b-41d4-a716-446655440000", "call 13800138000", "r-3"]
    requests = [ai_pb2.TextRequest(text=text, request_id=each) for text, each in zip(texts, ids, strict=True)]
    response = await gateway.stub.BatchClassifyText(
        ai_pb2.BatchClassifyTextRequest(requests=requests), metadata=metadata
    )
    answer = response.results[0].response
    doubtful, large, blank = await gateway.events(3)
    assert (doubtful.schema, doubtful.tenant, doubtful.tier) == (1, "bank", "large")
    assert doubtful.input.masked_text.startswith("我的手机号是[phone:")
    assert (doubtful.input.characters, doubtful.input.bytes) == (len(texts[0]), len(texts[0].encode()))
    assert (large.tier, large.input.masked_text, large.input.characters) == ("", "", 65_537)
    assert (blank.tier, blank.input.masked_text) == ("", " ")
    assert doubtful.request_id == answer.request_id == ids[0]
    assert large.request_id.startswith("call [")
    assert blank.request_id == ids[2]
    assert len({event.subject for event in (doubtful, large, blank)}) == 1
    assert len(doubtful.subject) == 32
    (review,) = await gateway.reviews(1)
    assert (review.tenant, review.caller) == ("bank", doubtful.caller)
    assert review.masked_text == doubtful.input.masked_text
    kept = b"".join(event.payload for topic in (AUDIT_TOPIC, REVIEW_TOPIC) for event in gateway.log.topic(topic))
    for raw in (b"13800138000", b"li.wei", b"wang@"):
        assert raw not in kept


async def test_without_a_name_and_an_id_the_caller_is_anonymous_and_gets_an_id(gateway: Gateway) -> None:
    answer = await gateway.stub.ClassifyText(ai_pb2.TextRequest(text="hello"))
    (event,) = await gateway.events(1)
    assert event.caller == "anonymous"
    assert answer.request_id == event.request_id != ""


async def test_a_doubtful_answer_opens_a_review_with_masked_text(gateway: Gateway) -> None:
    text = "我的手机号是13800138000，请回电 0.41"
    answer = await gateway.stub.ClassifyText(ai_pb2.TextRequest(text=text))
    assert answer.review_task_id
    (review,) = await gateway.reviews(1)
    assert review.task_id == answer.review_task_id
    assert review.audit_id == answer.audit_id
    assert "13800138000" not in review.masked_text
    assert review.masked_text.startswith("我的手机号是[phone:")
    assert review.confidence == pytest.approx(0.41)
    assert review.threshold == pytest.approx(0.7)
    (event,) = await gateway.events(1)
    assert event.answer.review_task_id == answer.review_task_id


async def test_a_confidence_at_the_threshold_is_sure_enough(gateway: Gateway) -> None:
    answer = await gateway.stub.ClassifyText(ai_pb2.TextRequest(text="just 0.7"))
    assert answer.review_task_id == ""


async def _ask(gateway: Gateway, text: str) -> ai_pb2.ClassificationResponse:
    answer: ai_pb2.ClassificationResponse = await gateway.stub.ClassifyText(ai_pb2.TextRequest(text=text))
    return answer


async def test_many_callers_get_their_own_answers_in_few_calls(gateway: Gateway) -> None:
    gateway.classifier.stuck.clear()
    texts = [f"text number {number} of many" for number in range(200)]
    calls = [asyncio.ensure_future(_ask(gateway, text)) for text in texts]
    batches = gateway.classifier.batches
    while sum(map(len, batches)) + (REGISTRY.get_sample_value("gateway_texts_waiting") or 0) < len(texts):
        await asyncio.sleep(0.01)
    gateway.classifier.stuck.set()
    answers = await asyncio.gather(*calls)
    assert [answer.label for answer in answers] == [f"echo:{text}" for text in texts]
    assert len(batches) < 50
    events = await gateway.events(200)
    assert {event.event_id for event in events} == {answer.audit_id for answer in answers}
    assert len(events) == 200


async def test_a_batch_answers_in_order_and_a_bad_text_fails_alone(gateway: Gateway) -> None:
    requests = [ai_pb2.TextRequest(text=f"text {number}") for number in range(5)]
    requests[3].text = "  "
    requests[4].model = "bankin"
    response = await gateway.stub.BatchClassifyText(
        ai_pb2.BatchClassifyTextRequest(requests=requests), metadata=(("accept-language", "zh-CN"),)
    )
    kinds = [result.WhichOneof("result") for result in response.results]
    assert kinds == ["response", "response", "response", "error", "error"]
    assert [result.response.label for result in response.results[:3]] == [f"echo:text {n}" for n in range(3)]
    blank, unknown = response.results[3].error, response.results[4].error
    assert blank.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    violation = _detail(blank, error_details_pb2.BadRequest()).field_violations[0]
    assert (violation.field, violation.reason) == ("requests[3].text", "TEXT_BLANK")
    assert _detail(blank, error_details_pb2.LocalizedMessage()).locale == "zh-CN"
    info = _detail(unknown, error_details_pb2.ErrorInfo())
    assert info.metadata["known"] == "banking, intent, sentiment, triage"
    events = await gateway.events(5)
    assert len(events) == 5
    assert [event.WhichOneof("outcome") for event in events].count("error") == 2


async def test_a_stream_answers_as_it_goes_with_the_callers_ids(gateway: Gateway) -> None:
    async def ask():  # type: ignore[no-untyped-def]
        for number in range(100):
            text = "" if number % 10 == 3 else f"item {number}"
            yield ai_pb2.StreamClassifyTextRequest(id=f"i{number}", request=ai_pb2.TextRequest(text=text))

    answers = [answer async for answer in gateway.stub.StreamClassifyText(ask())]
    assert {answer.id for answer in answers} == {f"i{number}" for number in range(100)}
    assert len(answers) == 100
    for answer in answers:
        if answer.WhichOneof("result") == "response":
            assert answer.response.label == f"echo:item {answer.id[1:]}"
        else:
            assert int(answer.id[1:]) % 10 == 3
            violation = _detail(answer.error, error_details_pb2.BadRequest()).field_violations[0]
            assert violation.field == "request.text"
    events = await gateway.events(100)
    assert len(events) == 100


async def test_a_stream_that_pings_gets_its_pong_before_it_asks_on(gateway: Gateway) -> None:
    call = gateway.stub.StreamClassifyText()
    for number in range(5):
        await call.write(ai_pb2.StreamClassifyTextRequest(id=str(number), request=ai_pb2.TextRequest(text="ping")))
        answer = await call.read()
        assert answer.id == str(number)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    await gateway.events(5)


async def test_models_are_listed_and_that_is_recorded(gateway: Gateway) -> None:
    response = await gateway.stub.ListModels(ai_pb2.ListModelsRequest(industry="finance"))
    assert [(model.name, model.version) for model in response.models] == [("banking", "v1.0.0")]
    (event,) = await gateway.events(1)
    assert event.method == "/assay.ai.v1.AIService/ListModels"
    assert event.WhichOneof("outcome") == "answer"


async def test_the_threshold_is_a_setting(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, confidence_threshold=0.95) as gateway:
        answer = await gateway.stub.ClassifyText(ai_pb2.TextRequest(text="fairly sure 0.9"))
        assert answer.review_task_id


def _detail(status, message):  # type: ignore[no-untyped-def]
    for detail in status.details:
        if detail.Is(message.DESCRIPTOR):
            detail.Unpack(message)
            return message
    raise AssertionError(f"no {message.DESCRIPTOR.name} in {status}")


async def test_the_classifier_gets_kinds_in_the_place_of_personal_data(gateway: Gateway) -> None:
    await gateway.stub.ClassifyText(ai_pb2.TextRequest(text="call 13800138000 now"))
    assert gateway.classifier.batches == [["call [phone] now"]]
    (event,) = await gateway.events(1)
    assert event.input.masked_text.startswith("call [phone:")
    assert event.input.characters == len("call 13800138000 now")


async def test_names_with_personal_data_reach_neither_the_classifier_nor_the_answer(gateway: Gateway) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.stub.ClassifyText(ai_pb2.TextRequest(text="hello", model="13800138000"))
    assert gateway.classifier.asked[0][0].startswith("[phone:")
    assert "13800138000" not in str(raised.value.details())
    assert all(b"13800138000" not in str(value).encode() for _, value in raised.value.trailing_metadata() or ())


async def test_a_model_that_asks_for_raw_texts_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.inputs._KNOWN_SECONDS", 0.05)
    async with running_gateway(tmp_path) as gateway:
        gateway.classifier.raw.add("triage")
        async with asyncio.timeout(30):
            while gateway.classifier.batches[-1:] != [["call 13800138000"]]:
                await gateway.stub.ClassifyText(ai_pb2.TextRequest(text="call 13800138000", model="triage"))
                await asyncio.sleep(0.1)
        await gateway.stub.ClassifyText(ai_pb2.TextRequest(text="call 13800138000", model="intent"))
        assert gateway.classifier.batches[-1] == ["call [phone]"]
        # The scripted classifier's label is the text it was shown; nothing else may tell it.
        assert all("13800138000" not in event.input.masked_text for event in await gateway.events(1))


async def test_a_tenant_that_is_a_persons_number_is_refused(gateway: Gateway) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.stub.ClassifyText(ai_pb2.TextRequest(text="hello"), metadata=(("x-assay-tenant", "E12345678"),))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "E12345678" not in str(raised.value.details())
    (event,) = await gateway.events(1)
    assert "E12345678" not in str(event)


async def test_tenants_have_tokens_of_their_own(gateway: Gateway) -> None:
    for tenant in ("acme", "umbrella", "acme"):
        await gateway.stub.ClassifyText(
            ai_pb2.TextRequest(text="call 13800138000"), metadata=(("x-assay-tenant", tenant),)
        )
    first, other, again = (event.input.masked_text for event in await gateway.events(3))
    assert first == again != other


async def test_plain_hashes_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text('[tenants.acme]\nhash = "sha256"\n')
    async with running_gateway(tmp_path, tenants_file=file):
        pass
    assert "can be guessed" in caplog.text
