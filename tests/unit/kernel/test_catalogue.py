"""The error catalogue against the proto: the same reasons, and texts that the documented metadata fills."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from assay.errors.v1 import errors_pb2

from services.kernel.errors import CATALOGUE, AssayError, Code, Reason
from services.kernel.faults import Fault, in_chinese
from services.kernel.status import HTTP_STATUS

PROTO = Path(__file__).parents[3] / "protos" / "assay" / "errors" / "v1" / "errors.proto"
PREFIX = "ERROR_REASON_"


def samples() -> Mapping[Reason, tuple[str, dict[str, str]]]:
    """Reads each reason's status and sample metadata from the comment that stands before it."""
    found: dict[Reason, tuple[str, dict[str, str]]] = {}
    comment: list[str] = []
    for line in PROTO.read_text().splitlines():
        text = line.strip()
        if text.startswith("//"):
            comment.append(text[2:].strip())
            continue
        if value := re.match(rf"{PREFIX}(\w+) = [1-9]\d*;", text):
            words, sample = " ".join(comment[:-1]), comment[-1]
            codes = [code.name for code in Code if re.search(rf"\b{code.name}\b", words)]
            assert len(codes) == 1, f"{value[1]} names {codes}"
            found[Reason[value[1]]] = codes[0], json.loads(sample)
        comment = []
    return found


SAMPLES = samples()


def test_reasons_are_those_of_the_proto() -> None:
    in_proto = {name.removeprefix(PREFIX): number for name, number in errors_pb2.ErrorReason.items() if number}
    assert {reason.name: reason.value for reason in Reason} == in_proto


def test_every_reason_is_in_the_catalogue() -> None:
    assert set(CATALOGUE) == set(Reason) == set(SAMPLES)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_text_and_status(reason: Reason) -> None:
    code, metadata = SAMPLES[reason]
    spec = CATALOGUE[reason]
    assert spec.code.name == code
    for language in ("en", "zh"):
        words = spec.words(language, metadata)
        assert "?" not in words.replace("？", "")
        assert "{" not in words
    assert re.search("[一-鿿]", spec.words("zh", metadata))


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_text_uses_what_the_metadata_has(reason: Reason) -> None:
    keys = set(re.findall(r"{(\w+)}", CATALOGUE[reason].english))
    assert keys == set(re.findall(r"{(\w+)}", CATALOGUE[reason].chinese))
    assert keys <= set(SAMPLES[reason][1])


def test_metadata_is_text() -> None:
    assert AssayError(Reason.TEXT_TOO_LONG, tokens=613).metadata == {"tokens": "613"}


def test_missing_metadata_shows() -> None:
    assert "?" in CATALOGUE[Reason.TEXT_BLANK].words("en", {})


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
def test_a_fault_is_chinese_in_a_chinese_text(fault: Fault) -> None:
    error = AssayError(Reason.MESSAGE_MALFORMED, field="request", fault=fault)
    assert error.metadata == {"field": "request", "fault": fault.english}
    spec = CATALOGUE[error.reason]
    assert spec.words("en", error.metadata) == f"request can't be read: {fault.english}"
    assert spec.words("zh", error.metadata) == f"无法读取 request：{fault.chinese}"
    assert set(re.findall(r"{\w+}", fault.english)) == set(re.findall(r"{\w+}", fault.chinese))


def test_words_that_are_no_fault_stay() -> None:
    assert in_chinese("a fault of a later build") == "a fault of a later build"


def test_every_code_has_an_http_status() -> None:
    assert set(HTTP_STATUS) == set(Code)
