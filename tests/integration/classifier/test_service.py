"""The classifier over the real Triton: answers, errors, lists, health."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from assay.classifier.v1 import classifier_pb2 as pb
from assay.errors.v1 import errors_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.kernel.errors import AssayError, Reason
from services.kernel.status import from_status
from tests.fixtures.triton import TritonServer
from tests.integration.classifier.conftest import serving, stub


@pytest.fixture
async def channel(shared_triton: TritonServer, tiny_models: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(tiny_models, shared_triton.address) as opened:
        yield opened


def refusal(error: grpc.aio.AioRpcError) -> AssayError:
    from grpc_status import rpc_status

    status = rpc_status.from_call(error)
    assert status is not None
    found = from_status(status)
    assert found is not None
    return found


async def test_a_batch_of_many_models_is_answered_in_order(channel: grpc.aio.Channel) -> None:
    items = [
        pb.ClassifyItem(text="please greet"),
        pb.ClassifyItem(text="my loan", industry="finance"),
        pb.ClassifyItem(text="a fever again", model="triage", model_version="v1.0"),
        pb.ClassifyItem(text="bad bad", model="sentiment"),
    ] * 20
    answer = await stub(channel).ClassifyBatch(pb.ClassifyBatchRequest(items=items))
    found = [
        (c.label, c.model, c.model_version, c.industry, c.tokens) for c in (r.classification for r in answer.results)
    ]
    assert (
        found
        == [
            ("greet", "intent", "v1.0.0", "general", 4),
            ("loan", "banking", "v1.0.0", "finance", 4),
            ("fever", "triage", "v1.0.0", "medical", 5),
            ("bad", "sentiment", "v1.0.0", "general", 4),
        ]
        * 20
    )
    assert all(0.5 < result.classification.confidence <= 1 for result in answer.results)


async def test_bad_items_fail_alone_with_their_reasons(channel: grpc.aio.Channel) -> None:
    items = [
        pb.ClassifyItem(text="greet"),
        pb.ClassifyItem(text="  "),
        pb.ClassifyItem(text="card " * 100, model="banking"),
        pb.ClassifyItem(text="greet", model="bankin"),
        pb.ClassifyItem(text="greet", model_version="v9"),
        pb.ClassifyItem(text="greet", model_version="newest"),
        pb.ClassifyItem(text="greet", industry="farming"),
        pb.ClassifyItem(text="greet", model="banking", industry="medical"),
        pb.ClassifyItem(text="weather"),
    ]
    answer = await stub(channel).ClassifyBatch(pb.ClassifyBatchRequest(items=items))
    assert [result.WhichOneof("result") for result in answer.results] == [
        "classification",
        *["error"] * 7,
        "classification",
    ]
    errors = [result.error for result in answer.results[1:-1]]
    assert [errors_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_") for error in errors] == [
        "TEXT_BLANK",
        "TEXT_TOO_LONG",
        "MODEL_UNKNOWN",
        "MODEL_VERSION_UNKNOWN",
        "MODEL_VERSION_INVALID",
        "INDUSTRY_UNKNOWN",
        "INDUSTRY_MISMATCH",
    ]
    assert dict(errors[1].metadata) == {
        "field": "text",
        "tokens": "102",
        "limit": "16",
        "model": "banking",
        "model_version": "v1.0.0",
    }


@pytest.mark.parametrize(("count", "reason"), [(0, Reason.BATCH_EMPTY), (1025, Reason.BATCH_TOO_LARGE)])
async def test_a_batch_of_the_wrong_size_is_refused(channel: grpc.aio.Channel, count: int, reason: Reason) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(channel).ClassifyBatch(pb.ClassifyBatchRequest(items=[pb.ClassifyItem(text="greet")] * count))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal(caught.value).reason is reason


async def test_a_batch_of_1024_long_items_is_answered(channel: grpc.aio.Channel) -> None:
    items = [pb.ClassifyItem(text="now " * (n % 13) + "refund", model="banking") for n in range(1024)]
    answer = await stub(channel).ClassifyBatch(pb.ClassifyBatchRequest(items=items))
    assert {result.classification.label for result in answer.results} == {"refund"}


async def test_models_are_listed_in_pages(channel: grpc.aio.Channel) -> None:
    names, token = [], ""
    while True:
        page = await stub(channel).ListModels(pb.ListModelsRequest(page_size=3, page_token=token))
        names += [(model.name, model.version) for model in page.models]
        token = page.next_page_token
        if not token:
            break
        assert len(page.models) == 3
    assert names == [(name, "v1.0.0") for name in ("banking", "intent", "sentiment", "triage")]
    (banking,) = (await stub(channel).ListModels(pb.ListModelsRequest(industry="finance"))).models
    assert banking == pb.ModelDescription(
        name="banking",
        version="v1.0.0",
        industry="finance",
        languages=["en"],
        labels=["card", "loan", "refund"],
        max_tokens=16,
        stable=True,
        industry_default=True,
    )


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.ListModelsRequest(page_size=-1), Reason.FIELD_INVALID),
        (pb.ListModelsRequest(page_token="x"), Reason.PAGE_TOKEN_INVALID),
        (pb.ListModelsRequest(industry="farming"), Reason.INDUSTRY_UNKNOWN),
    ],
)
async def test_a_list_that_cannot_be_given_is_refused(
    channel: grpc.aio.Channel, request_: pb.ListModelsRequest, reason: Reason
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(channel).ListModels(request_)
    assert refusal(caught.value).reason is reason


async def test_a_page_token_is_for_its_own_query(channel: grpc.aio.Channel) -> None:
    first = await stub(channel).ListModels(pb.ListModelsRequest(page_size=1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(channel).ListModels(pb.ListModelsRequest(page_token=first.next_page_token, industry="general"))
    assert refusal(caught.value).reason is Reason.PAGE_TOKEN_INVALID


async def test_health_names_triton_and_the_encoder(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "triton", "encoder", "assay.classifier.v1.ClassifierService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, name


async def test_reflection_names_the_service(channel: grpc.aio.Channel) -> None:
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    )
    async for answer in call:
        assert "assay.classifier.v1.ClassifierService" in {
            service.name for service in answer.list_services_response.service
        }
        break
    call.cancel()
