"""Renders errors as google.rpc.Status and reads them back: the one place where the catalogue meets the wire."""

from __future__ import annotations

from typing import Any

from assay.errors.v1 import errors_pb2
from google.protobuf import any_pb2, json_format
from google.rpc import error_details_pb2, status_pb2

from services.kernel.errors import CATALOGUE, DOMAIN, AssayError, Code, Reason

# The trailer in which gRPC carries a serialised google.rpc.Status.
DETAILS_KEY = "grpc-status-details-bin"

# HTTP statuses by the table in google/rpc/code.proto; an unknown method is a path that does not exist, so 404 there.
HTTP_STATUS: dict[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
}

_LOCALES = {"en": "en", "zh": "zh-CN"}
_PREFERENCES = 16


def language(accept_language: str | None) -> str:
    """Chooses "zh" or "en" by the value of an Accept-Language header (RFC 9110, section 12.5.4).

    The range with the highest weight that is one of the two wins, the first among equals; anything else is English.
    """
    best, best_weight = "en", 0.0
    for part in (accept_language or "").split(",")[:_PREFERENCES]:
        tag, _, parameter = part.partition(";")
        primary = tag.strip().lower().partition("-")[0]
        if primary not in _LOCALES:
            continue
        name, _, value = parameter.strip().partition("=")
        try:
            weight = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            continue
        if weight > best_weight:
            best, best_weight = primary, weight
    return best


def to_status(error: AssayError, language: str = "en") -> status_pb2.Status:
    """Renders an error with exactly one ErrorInfo and one LocalizedMessage in `language` ("en" or "zh").

    The status's own message is English. INVALID_ARGUMENT with a `field` in its metadata gets a BadRequest, a reason
    that a retry may cure a RetryInfo.
    """
    spec = CATALOGUE[error.reason]
    message = spec.words("en", error.metadata)
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=error.metadata),
        error_details_pb2.LocalizedMessage(
            locale=_LOCALES.get(language, "en"), message=spec.words(language, error.metadata)
        ),
    ]
    if spec.code is Code.INVALID_ARGUMENT and "field" in error.metadata:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.metadata["field"], description=message, reason=error.reason.name
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if spec.retry_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(spec.retry_seconds * 1000))
        details.append(retry)
    status = status_pb2.Status(code=int(spec.code), message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def from_status(status: status_pb2.Status) -> AssayError | None:
    """Reads the error back that `to_status` rendered; None when the status is not one of ours."""
    for detail in status.details:
        if not detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            continue
        info = error_details_pb2.ErrorInfo()
        detail.Unpack(info)
        if info.domain == DOMAIN and info.reason in Reason.__members__:
            return AssayError(Reason[info.reason], **info.metadata)
    return None


def to_json(status: status_pb2.Status) -> dict[str, Any]:
    """Renders a status as REST callers see it: {"code", "message", "details": [{"@type", ...}]}."""
    body: dict[str, Any] = json_format.MessageToDict(status, preserving_proto_field_name=True)
    return body


def to_error_proto(error: AssayError) -> errors_pb2.Error:
    """Renders the error of one item, as batches, streams and services among themselves carry it."""
    return errors_pb2.Error(reason=errors_pb2.ErrorReason.ValueType(int(error.reason)), metadata=error.metadata)


def from_error_proto(message: errors_pb2.Error) -> AssayError:
    """Reads such an error back; a reason that this build doesn't know becomes INTERNAL without metadata."""
    try:
        return AssayError(Reason(message.reason), **message.metadata)
    except ValueError:
        return AssayError(Reason.INTERNAL)
