"""The models that ship, in the real Triton: clear texts get the label that a person would give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from assay.classifier.v1 import classifier_pb2 as pb

from tests.fixtures.triton import TritonServer, running_triton
from tests.integration.classifier.conftest import serving, stub

MODELS = Path(__file__).resolve().parents[3] / "models"


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with running_triton(tmp_path_factory.mktemp("triton"), MODELS) as server:
        yield server


CLEAR = [
    ("banking", "someone stole my card, what should I do?", "lost_or_stolen_card"),
    ("banking", "what is the exchange rate you use?", "exchange_rate"),
    ("intent", "what's the weather going to be like tomorrow", "weather"),
    ("intent", "please translate good morning to spanish", "translate"),
    ("triage", "糖尿病人血糖一直降不下来，胰岛素怎么用？", "内分泌科"),
    ("triage", "高血压患者平时要注意什么，血压高怎么办？", "心血管科"),
    ("sentiment", "房间很干净，服务也非常好，下次还会再来", "positive"),
    ("sentiment", "质量太差了，用了两天就坏，客服也不理人", "negative"),
]


async def test_clear_texts_get_the_label_a_person_would_give(triton: TritonServer) -> None:
    items = [pb.ClassifyItem(text=text, model=model) for model, text, _ in CLEAR]
    async with serving(MODELS, triton.address) as channel:
        answer = await stub(channel).ClassifyBatch(pb.ClassifyBatchRequest(items=items))
    assert [result.classification.label for result in answer.results] == [label for _, _, label in CLEAR]


async def test_company_in_a_batch_changes_no_answer(triton: TritonServer) -> None:
    items = [pb.ClassifyItem(text=text, model=model) for model, text, _ in CLEAR]
    async with serving(MODELS, triton.address) as channel:
        together = await stub(channel).ClassifyBatch(pb.ClassifyBatchRequest(items=items * 8))
        for item, result in zip(items, together.results, strict=False):
            (alone,) = (await stub(channel).ClassifyBatch(pb.ClassifyBatchRequest(items=[item]))).results
            assert alone.classification.label == result.classification.label
            assert alone.classification.confidence == pytest.approx(result.classification.confidence, abs=1e-5)


async def test_the_limit_of_512_tokens_is_exact(triton: TritonServer) -> None:
    async with serving(MODELS, triton.address) as channel:

        async def ask(text: str) -> pb.ClassifyResult:
            (result,) = (
                await stub(channel).ClassifyBatch(pb.ClassifyBatchRequest(items=[pb.ClassifyItem(text=text)]))
            ).results
            return result

        one = (await ask("my card")).classification.tokens
        each = (await ask("my card my card")).classification.tokens - one
        words = 1 + (512 - one) // each
        assert (await ask(" ".join(["my card"] * words))).classification.tokens <= 512
        refused = (await ask(" ".join(["my card"] * (words + 1)))).error
        assert refused.metadata["limit"] == "512"
        assert int(refused.metadata["tokens"]) == one + each * words > 512
