from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.gateway.answers import Classification, Model, ModelPage
from services.gateway.inputs import ModelInputs
from services.gateway.masking import Masker
from services.gateway.pseudonyms import Pseudonyms
from services.gateway.requests import Query
from services.kernel.errors import AssayError, Reason

MASKER = Masker(Pseudonyms(bytes(32)))
TEXT = "call 13800138000"


class Catalogue:
    """A classifier that lists models, one a page, or says that it can't."""

    def __init__(self, *models: Model) -> None:
        self.models = list(models)
        self.away = False

    async def list_models(self, page_size: int, page_token: str, industry: str, deadline: float) -> ModelPage:
        if self.away:
            raise AssayError(Reason.PART_UNAVAILABLE, part="classifier")
        place = int(page_token or 0)
        more = str(place + 1) if place + 1 < len(self.models) else ""
        return ModelPage(tuple(self.models[place : place + 1]), more)

    async def classify(self, queries: Sequence[Query], deadline: float) -> list[Classification | AssayError]:
        raise NotImplementedError

    async def ping(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


def model(name: str, version: str = "v1.0.0", industry: str = "general", raw: bool = False) -> Model:
    return Model(name, version, industry, ("en",), ("a",), 512, True, False, raw)


async def learned(*models: Model) -> ModelInputs:
    inputs = ModelInputs(Catalogue(*models))
    await inputs.learn()
    return inputs


def seen(inputs: ModelInputs, **fields: str) -> str:
    query = Query(TEXT, **fields)
    return inputs.shown(query, MASKER.mask(TEXT), MASKER).text


async def test_nothing_is_raw_before_anything_is_known() -> None:
    assert seen(ModelInputs(Catalogue(model("intent", raw=True))), model="intent") == "call [phone]"


async def test_a_model_that_asks_sees_raw_texts_and_no_other_does() -> None:
    inputs = await learned(model("intent", raw=True), model("banking", industry="finance"))
    assert seen(inputs, model="intent") == TEXT
    assert seen(inputs, model="banking") == "call [phone]"
    assert seen(inputs, model="unknown") == "call [phone]"


async def test_without_a_model_all_of_the_industry_must_ask() -> None:
    inputs = await learned(
        model("a", raw=True),
        model("b"),
        model("c", industry="finance", raw=True),
        model("d", industry="finance", raw=True),
    )
    assert seen(inputs) == "call [phone]"
    assert seen(inputs, industry="general") == "call [phone]"
    assert seen(inputs, industry="finance") == TEXT


async def test_of_several_versions_those_that_may_answer_must_ask() -> None:
    inputs = await learned(model("a", "v1.0.0", raw=True), model("a", "v1.2.0", raw=True), model("a", "v10.0.0"))
    assert seen(inputs, model="a") == "call [phone]"
    assert seen(inputs, model="a", model_version="v1") == TEXT
    assert seen(inputs, model="a", model_version="v1.2") == TEXT
    assert seen(inputs, model="a", model_version="v10.0.0") == "call [phone]"
    assert seen(inputs, model="a", model_version="v2") == "call [phone]"


async def test_names_that_nothing_has_are_masked() -> None:
    inputs = await learned(model("a"))
    shown = inputs.shown(Query("x", model="13800138000", industry="a@b.cn"), MASKER.mask("x"), MASKER)
    assert shown.model == MASKER.mask("13800138000").text
    assert shown.industry == MASKER.mask("a@b.cn").text
    assert inputs.shown(Query("x", model="a", industry="b"), MASKER.mask("x"), MASKER).model == "a"


async def test_what_was_known_is_kept_for_a_while_when_the_classifier_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.inputs._KNOWN_SECONDS", 0.001)
    monkeypatch.setattr("services.gateway.inputs._UNKNOWN_SECONDS", 0.001)
    catalogue = Catalogue(model("a", raw=True))
    inputs = ModelInputs(catalogue)
    running = asyncio.create_task(inputs.run())

    async def until(text: str) -> None:
        async with asyncio.timeout(10):
            while seen(inputs, model="a") != text:
                await asyncio.sleep(0.001)

    await until(TEXT)
    catalogue.away = True
    with pytest.raises(AssayError):
        await inputs.learn()
    await until("call [phone]")
    catalogue.away = False
    await until(TEXT)
    running.cancel()
