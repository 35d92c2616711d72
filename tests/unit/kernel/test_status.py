"""Errors as google.rpc.Status, and back."""

from __future__ import annotations

from typing import Any

import pytest
from assay.errors.v1 import errors_pb2
from google.rpc import error_details_pb2

from services.kernel import status
from services.kernel.errors import AssayError, Reason


def details(rendered: Any, kind: Any) -> list[Any]:
    found = []
    for detail in rendered.details:
        if detail.Is(kind.DESCRIPTOR):
            message = kind()
            detail.Unpack(message)
            found.append(message)
    return found


TOO_LONG = AssayError(
    Reason.TEXT_TOO_LONG, field="text", tokens=613, limit=512, model="banking", model_version="v1.0.0"
)


def test_one_error_info_and_one_text() -> None:
    rendered = status.to_status(TOO_LONG, "zh")
    assert (rendered.code, rendered.message) == (3, "text is 613 tokens; banking v1.0.0 accepts 512")
    (info,) = details(rendered, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, info.metadata["tokens"]) == ("TEXT_TOO_LONG", "assay", "613")
    (localized,) = details(rendered, error_details_pb2.LocalizedMessage)
    assert (localized.locale, localized.message) == ("zh-CN", "text 共 613 个词元；banking v1.0.0 最多接受 512 个")


def test_bad_request_names_the_field() -> None:
    (bad,) = details(status.to_status(TOO_LONG), error_details_pb2.BadRequest)
    (violation,) = bad.field_violations
    assert (violation.field, violation.reason) == ("text", "TEXT_TOO_LONG")


def test_not_every_error_is_a_bad_request() -> None:
    rendered = status.to_status(AssayError(Reason.MODEL_UNKNOWN, field="model", value="x", known="y"))
    assert not details(rendered, error_details_pb2.BadRequest)
    assert not details(rendered, error_details_pb2.RetryInfo)


def test_retry_info() -> None:
    rendered = status.to_status(AssayError(Reason.AUDIT_UNAVAILABLE, part="outbox"))
    (retry,) = details(rendered, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 5000


def test_there_and_back() -> None:
    back = status.from_status(status.to_status(TOO_LONG))
    assert back is not None
    assert (back.reason, back.metadata) == (TOO_LONG.reason, TOO_LONG.metadata)
    item = status.from_error_proto(status.to_error_proto(TOO_LONG))
    assert (item.reason, item.metadata) == (TOO_LONG.reason, TOO_LONG.metadata)


def test_what_is_not_ours() -> None:
    assert status.from_status(status.status_pb2.Status(code=5, message="elsewhere")) is None
    foreign = status.to_status(TOO_LONG)
    foreign.details[0].Pack(error_details_pb2.ErrorInfo(reason="TEXT_TOO_LONG", domain="elsewhere"))
    assert status.from_status(foreign) is None


def test_a_reason_from_the_future_is_internal() -> None:
    assert status.from_error_proto(errors_pb2.Error(reason=4711)).reason is Reason.INTERNAL


def test_json() -> None:
    body = status.to_json(status.to_status(TOO_LONG))
    assert body["code"] == 3
    assert body["details"][0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert "field_violations" in body["details"][2]


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, "en"),
        ("", "en"),
        ("zh", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.2, ZH-Hant;q=0.7", "zh"),
        ("de, fr", "en"),
        ("zh;q=0", "en"),
        ("zh;q=nonsense", "en"),
        (";;;,,=", "en"),
        ("de," * 100_000 + "zh", "en"),
    ],
)
def test_language(header: str | None, wanted: str) -> None:
    assert status.language(header) == wanted
