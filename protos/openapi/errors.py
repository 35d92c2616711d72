"""The errors of the HTTP interface: schemas of google.rpc.Status and its details, and an example of every reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from protos.openapi.descriptors import Descriptors, prose
from protos.openapi.schemas import Schema, reference
from services.kernel.errors import CATALOGUE, DOMAIN, AssayError, Reason
from services.kernel.status import HTTP_STATUS, to_json, to_status

_REASONS = "assay.errors.v1.ErrorReason"
_PREFIX = "ERROR_REASON_"

# nginx's name for what no RFC names: the caller closed the request.
_PHRASES = {499: "Client Closed Request"}


def _detail(name: str, description: str, properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": ["@type", *properties],
        "properties": {"@type": {"const": f"type.googleapis.com/{name}"}, **properties},
    }


def schemas() -> Mapping[str, Schema]:
    """Returns the schemas of google.rpc.Status and of the four details that the catalogue uses, by full name."""
    details = {
        "google.rpc.ErrorInfo": _detail(
            "google.rpc.ErrorInfo",
            "Why, for programs.",
            {
                "reason": {"type": "string", "enum": [reason.name for reason in Reason]},
                "domain": {"const": DOMAIN},
                "metadata": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "What the message was made from: field names, limits, values that are not personal.",
                },
            },
        ),
        "google.rpc.LocalizedMessage": _detail(
            "google.rpc.LocalizedMessage",
            "Why, for people, in the language that Accept-Language asks for.",
            {
                "locale": {"type": "string", "enum": ["en", "zh-CN"]},
                "message": {"type": "string"},
            },
        ),
        "google.rpc.BadRequest": _detail(
            "google.rpc.BadRequest",
            "Which field of the request is at fault.",
            {
                "field_violations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["field", "description"],
                        "properties": {
                            "field": {"type": "string", "description": "The field, for example `text`."},
                            "description": {"type": "string", "description": "What is wrong with it, in English."},
                            "reason": {"type": "string", "description": "The reason of the ErrorInfo."},
                        },
                    },
                }
            },
        ),
        "google.rpc.RetryInfo": _detail(
            "google.rpc.RetryInfo",
            "Trying again may help.",
            {
                "retry_delay": {
                    "type": "string",
                    "pattern": r"^[0-9]+(\.[0-9]{1,9})?s$",
                    "description": "How long to wait first, in seconds with the suffix s.",
                }
            },
        ),
    }
    # An ErrorInfo without metadata and a value that is its type's default are left out of the JSON.
    details["google.rpc.ErrorInfo"]["required"].remove("metadata")
    mapping = {f"type.googleapis.com/{name}": reference(name)["$ref"] for name in details}
    status = {
        "type": "object",
        "description": "An error: a google.rpc.Status as JSON. The same that gRPC carries in grpc-status-details-bin.",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "integer", "format": "int32", "description": "The gRPC status code, by its number."},
            "message": {"type": "string", "description": "What is wrong, in English."},
            "details": {
                "type": "array",
                "description": "One ErrorInfo and one LocalizedMessage; a BadRequest where a field is at fault; a "
                "RetryInfo where trying again may help.",
                "items": {
                    "oneOf": [reference(name) for name in details],
                    "discriminator": {"propertyName": "@type", "mapping": mapping},
                },
            },
        },
    }
    return {"google.rpc.Status": status, **details}


def samples(descriptors: Descriptors) -> Mapping[Reason, Mapping[str, str]]:
    """Reads the sample metadata of each reason: the JSON object that ends its comment in errors.proto.

    Raises:
        ValueError: when a reason of the catalogue has no sample there.
    """
    comments = {name.removeprefix(_PREFIX): comment for name, comment in descriptors.enums[_REASONS].values}
    found: dict[Reason, Mapping[str, str]] = {}
    for reason in CATALOGUE:
        _, brace, rest = comments.get(reason.name, "").partition("{")
        if not brace:
            raise ValueError(f"errors.proto shows no sample for {reason.name}")
        found[reason] = json.loads(brace + rest)
    return found


def meanings(descriptors: Descriptors) -> Mapping[Reason, str]:
    """Returns what the comment of each reason says before its sample and its gRPC status."""
    comments = {name.removeprefix(_PREFIX): comment for name, comment in descriptors.enums[_REASONS].values}
    return {
        reason: prose(comments[reason.name].partition("{")[0]).rpartition(f" {CATALOGUE[reason].code.name}")[0]
        for reason in CATALOGUE
    }


def reason_table(descriptors: Descriptors) -> str:
    """Returns the Markdown table of docs/errors.md: every reason with its statuses and its texts."""
    sample, meaning = samples(descriptors), meanings(descriptors)
    lines = [
        "| reason | gRPC | HTTP | when | English | 中文 | retry after |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for reason, spec in CATALOGUE.items():
        english, chinese = (spec.words(language, sample[reason]) for language in ("en", "zh"))
        retry = f"{spec.retry_seconds:g} s" if spec.retry_seconds else ""
        cells = [
            f"`{reason.name}`",
            spec.code.name,
            str(HTTP_STATUS[spec.code]),
            meaning[reason],
            english,
            chinese,
            retry,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def responses(descriptors: Descriptors) -> Mapping[str, Schema]:
    """Returns one response for each HTTP status of the catalogue, by the status, with every reason as an example.

    The empty status stands for what is refused before it is a call: too large a body (413), too many headers (431).
    """
    sample = samples(descriptors)
    by_status: dict[int, list[Reason]] = {}
    for reason, spec in CATALOGUE.items():
        by_status.setdefault(HTTP_STATUS[spec.code], []).append(reason)
    other = {
        "description": "Any other error, for example 413 for too large a body; the same shape.",
        "content": {"application/json": {"schema": reference("google.rpc.Status")}},
    }
    return {"": other, **{str(status): _response(status, by_status[status], sample) for status in sorted(by_status)}}


def _response(status: int, reasons: list[Reason], sample: Mapping[Reason, Mapping[str, str]]) -> Schema:
    examples: Schema = {}
    for reason in reasons:
        error = AssayError(reason, **sample[reason])
        for language, title in (("en", "English"), ("zh", "中文")):
            examples[f"{reason.name}.{language}"] = {
                "summary": f"{reason.name} ({title})",
                "value": _rendered(error, language),
            }
    phrase = _PHRASES.get(status) or HTTPStatus(status).phrase
    content: dict[str, Any] = {"schema": reference("google.rpc.Status"), "examples": examples}
    names = ", ".join(f"`{reason.name}`" for reason in reasons)
    return {"description": f"{phrase}: {names}.", "content": {"application/json": content}}


def _rendered(error: AssayError, language: str) -> dict[str, Any]:
    body = to_json(to_status(error, language))
    for detail in body["details"]:
        # A map comes out of Protobuf in any order; the document must be the same each time.
        if "metadata" in detail:
            detail["metadata"] = {key: detail["metadata"][key] for key in error.metadata}
    return body
