"""Which model answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.classifier.bundle import load_catalogue
from services.classifier.resolution import Resolver
from services.kernel.errors import AssayError, Reason
from tests.fixtures.bundles import write_bundles

VERSIONS = {
    "intent": ("1.0.0",),
    "banking": ("1.0.0", "1.9.0", "1.10.0", "2.0.1", "2.1.0", "2.1.3", "10.0.0"),
    "triage": ("1.0.0",),
    "sentiment": ("1.0.0",),
}


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Resolver:
    return Resolver(load_catalogue(write_bundles(tmp_path_factory.mktemp("models"), VERSIONS)).heads)


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        ("", "v10.0.0"),
        ("v1", "v1.10.0"),
        ("v2", "v2.1.3"),
        ("v2.1", "v2.1.3"),
        ("v2.0", "v2.0.1"),
        ("v2.1.0", "v2.1.0"),
        ("v10", "v10.0.0"),
    ],
)
def test_a_version_is_the_newest_that_matches(resolver: Resolver, asked: str, version: str) -> None:
    model = resolver.resolve("banking", asked, "")
    assert (model.name, model.version, model.industry) == ("banking", version, "finance")


@pytest.mark.parametrize(
    ("industry", "model"), [("", "intent"), ("general", "intent"), ("finance", "banking"), ("medical", "triage")]
)
def test_an_industry_has_a_default_model(resolver: Resolver, industry: str, model: str) -> None:
    assert resolver.resolve("", "", industry).name == model


def test_an_industry_may_be_given_with_its_model(resolver: Resolver) -> None:
    assert resolver.resolve("sentiment", "v1", "general").name == "sentiment"


KNOWN_BANKING = "v10.0.0, v2.1.3, v2.1.0, v2.0.1, v1.10.0, v1.9.0, v1.0.0"


@pytest.mark.parametrize(
    ("fields", "reason", "metadata"),
    [
        (
            ("bankin", "", ""),
            Reason.MODEL_UNKNOWN,
            {"field": "model", "value": "bankin", "known": "banking, intent, sentiment, triage"},
        ),
        (
            ("", "", "farming"),
            Reason.INDUSTRY_UNKNOWN,
            {"field": "industry", "value": "farming", "known": "finance, general, medical"},
        ),
        (
            ("banking", "", "medical"),
            Reason.INDUSTRY_MISMATCH,
            {"field": "industry", "value": "medical", "model": "banking", "model_industry": "finance"},
        ),
        (
            ("banking", "v3", ""),
            Reason.MODEL_VERSION_UNKNOWN,
            {"field": "model_version", "value": "v3", "model": "banking", "known": KNOWN_BANKING},
        ),
        (
            ("banking", "v2.1.7", ""),
            Reason.MODEL_VERSION_UNKNOWN,
            {"field": "model_version", "value": "v2.1.7", "model": "banking", "known": KNOWN_BANKING},
        ),
        *(
            (("banking", text, ""), Reason.MODEL_VERSION_INVALID, {"field": "model_version", "value": text})
            for text in ("latest", "1.0.0", "V1", "v1.", "v01", "v1.0.0.0", "v1.0.0-rc1", "v-1", " v1", "v１", "v1\n")
        ),
    ],
)
def test_what_does_not_exist_is_said_with_what_does(
    resolver: Resolver, fields: tuple[str, str, str], reason: Reason, metadata: dict[str, str]
) -> None:
    with pytest.raises(AssayError) as caught:
        resolver.resolve(*fields)
    assert caught.value.reason is reason
    assert caught.value.metadata == metadata


def test_a_value_of_any_length_is_repeated_only_in_part(resolver: Resolver) -> None:
    for fields in (("x" * 9999, "", ""), ("", "", "x" * 9999), ("banking", "x" * 9999, "")):
        with pytest.raises(AssayError) as caught:
            resolver.resolve(*fields)
        assert caught.value.metadata["value"] == "x" * 64


def test_models_are_listed_by_name_then_newest_first(resolver: Resolver) -> None:
    listed = [(model.name, model.version) for model in resolver.models()]
    assert listed[:3] == [("banking", "v10.0.0"), ("banking", "v2.1.3"), ("banking", "v2.1.0")]
    assert [name for name, _ in listed[7:]] == ["intent", "sentiment", "triage"]
    assert {model.name for model in resolver.models("general")} == {"intent", "sentiment"}


def test_flags_say_which_one_an_empty_field_means(resolver: Resolver) -> None:
    stable = {(model.name, model.version) for model in resolver.models() if model.stable}
    assert stable == {("banking", "v10.0.0"), ("intent", "v1.0.0"), ("sentiment", "v1.0.0"), ("triage", "v1.0.0")}
    assert {model.name for model in resolver.models() if model.industry_default} == {"banking", "intent", "triage"}


def test_where_the_usual_default_does_not_ship_another_of_the_industry_answers(tmp_path: Path) -> None:
    resolver = Resolver(load_catalogue(write_bundles(tmp_path, {"sentiment": ("1.0.0",)})).heads)
    assert resolver.resolve("", "", "").name == "sentiment"
