"""From texts to labels, over an encoder that is no server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.classifier.batches import GroupLimits
from services.classifier.bundle import load_catalogue
from services.classifier.classification import MOST_ITEMS, Classification, Classifier, Item
from services.classifier.encoding import EncodingQueue
from services.classifier.manifest import EncoderRef
from services.classifier.resolution import Resolver
from services.kernel.errors import AssayError, Reason
from tests.fixtures.bundles import DIMENSION, MAX_TOKENS, VOCABULARY, write_bundles
from tests.fixtures.encoders import FakeEncoder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundles(tmp_path_factory.mktemp("models"))


@pytest.fixture
async def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def classifier(models: Path, encoder: FakeEncoder) -> Iterator[Classifier]:
    catalogue = load_catalogue(models)
    (shipped,) = catalogue.encoders
    queue = EncodingQueue(encoder, DIMENSION, GroupLimits())
    with ThreadPoolExecutor(1) as threads:
        queues = {EncoderRef(shipped.name, shipped.version): queue}
        yield Classifier(catalogue, Resolver(catalogue.heads), queues, threads)


def soon() -> float:
    return asyncio.get_running_loop().time() + 30


async def test_one_call_of_the_encoder_serves_texts_of_many_models(
    classifier: Classifier, encoder: FakeEncoder
) -> None:
    items = [
        Item("please transfer the"),
        Item("my card again please", industry="finance"),
        Item("a rash again", model="triage", model_version="v1"),
        Item("good", model="sentiment", industry="general"),
    ]
    results = await classifier.classify(items, soon())
    answers = [result for result in results if isinstance(result, Classification)]
    assert [(a.label, a.model.name, a.model.version, a.tokens) for a in answers] == [
        ("transfer", "intent", "v1.0.0", 5),
        ("card", "banking", "v1.0.0", 6),
        ("rash", "triage", "v1.0.0", 5),
        ("good", "sentiment", "v1.0.0", 3),
    ]
    assert sum(map(len, encoder.calls)) == 4
    assert all(0.5 < a.confidence <= 1.0 for a in answers)


async def test_a_text_that_says_nothing_gives_even_odds(classifier: Classifier) -> None:
    (result,) = await classifier.classify([Item("the the", model="sentiment")], soon())
    assert isinstance(result, Classification)
    assert result.confidence == pytest.approx(0.5)


async def test_each_bad_item_fails_alone_and_says_why(classifier: Classifier, encoder: FakeEncoder) -> None:
    encoder.poison = {VOCABULARY["now"]}
    items = [
        Item("greet"),
        Item(""),
        Item(" \t\n　"),
        Item("card " * 40, model="banking"),
        Item("greet", model="nope"),
        Item("greet", model_version="v7"),
        Item("greet now"),
        Item("weather"),
    ]
    results = await classifier.classify(items, soon())
    reasons = [result.reason if isinstance(result, AssayError) else result.label for result in results]
    assert reasons == [
        "greet",
        Reason.TEXT_BLANK,
        Reason.TEXT_BLANK,
        Reason.TEXT_TOO_LONG,
        Reason.MODEL_UNKNOWN,
        Reason.MODEL_VERSION_UNKNOWN,
        Reason.INTERNAL,
        "weather",
    ]
    too_long = results[3]
    assert isinstance(too_long, AssayError)
    assert too_long.metadata == {
        "field": "text",
        "tokens": "42",
        "limit": str(MAX_TOKENS),
        "model": "banking",
        "model_version": "v1.0.0",
    }


async def test_a_text_of_exactly_the_limit_is_taken_and_one_more_is_not(classifier: Classifier) -> None:
    fits, over = "greet " * (MAX_TOKENS - 2), "greet " * (MAX_TOKENS - 1)
    first, second = await classifier.classify([Item(fits), Item(over)], soon())
    assert isinstance(first, Classification)
    assert first.tokens == MAX_TOKENS
    assert isinstance(second, AssayError)
    assert second.metadata["tokens"] == str(MAX_TOKENS + 1)


async def test_only_bad_items_need_no_encoder(classifier: Classifier, encoder: FakeEncoder) -> None:
    encoder.reachable = False
    (result,) = await classifier.classify([Item("card " * 40)], soon())
    assert isinstance(result, AssayError)
    assert result.reason is Reason.TEXT_TOO_LONG


async def test_long_batches_are_tokenised_beside_the_loop_with_the_same_result(classifier: Classifier) -> None:
    results = await classifier.classify([Item("my card again", model="banking")] * 900, soon())
    assert {r.label for r in results if isinstance(r, Classification)} == {"card"}
    assert len(results) == 900


@pytest.mark.parametrize(("count", "reason"), [(0, Reason.BATCH_EMPTY), (MOST_ITEMS + 1, Reason.BATCH_TOO_LARGE)])
async def test_a_batch_holds_between_one_and_1024_items(classifier: Classifier, count: int, reason: Reason) -> None:
    with pytest.raises(AssayError) as caught:
        await classifier.classify([Item("greet")] * count, soon())
    assert caught.value.reason is reason
    assert caught.value.metadata["field"] == "items"


async def test_a_batch_fails_as_a_whole_only_when_nothing_was_worked_on(
    classifier: Classifier, encoder: FakeEncoder
) -> None:
    encoder.reachable = False
    with pytest.raises(AssayError) as caught:
        await classifier.classify([Item("greet"), Item("card", model="banking")], soon())
    assert caught.value.reason is Reason.PART_UNAVAILABLE
    mixed = await classifier.classify([Item("greet"), Item("")], soon())
    assert [r.reason for r in mixed if isinstance(r, AssayError)] == [Reason.PART_UNAVAILABLE, Reason.TEXT_BLANK]
