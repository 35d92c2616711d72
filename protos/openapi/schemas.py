"""JSON Schemas (2020-12) of messages by the proto3 JSON mapping, with the field names of the protos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from protos.openapi.descriptors import Descriptors, Enum, Field, Message, prose

Schema = dict[str, Any]

# What the comments say in words and a schema can say too. Lengths of strings are in characters here, in bytes of UTF-8
# in the comments: what a schema lets through may still be refused with a 400.
_ID = {"minLength": 1, "maxLength": 128}
_PAGE_SIZE = {"minimum": 0, "default": 100}
_CONFIDENCE = {"minimum": 0, "maximum": 1}
_VERSION = {"pattern": r"^(v(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){0,2})?$"}
CONSTRAINTS: Mapping[str, Schema] = {
    "assay.ai.v1.TextRequest.text": {"minLength": 1, "maxLength": 65536, "pattern": r"\S"},
    "assay.ai.v1.TextRequest.model_version": _VERSION,
    "assay.ai.v1.TextRequest.model": {"maxLength": 128},
    "assay.ai.v1.TextRequest.industry": {"maxLength": 128},
    "assay.ai.v1.TextRequest.request_id": {"maxLength": 128, "pattern": r"^[ -~]*$"},
    "assay.ai.v1.BatchClassifyTextRequest.requests": {"minItems": 1, "maxItems": 256},
    "assay.ai.v1.ClassificationResponse.confidence": _CONFIDENCE,
    "assay.ai.v1.ListModelsRequest.page_size": _PAGE_SIZE,
    "assay.audit.v1.AuditAnswer.confidence": _CONFIDENCE,
    "assay.audit.v1.GetEventRequest.event_id": _ID,
    "assay.audit.v1.ListEventsRequest.page_size": _PAGE_SIZE,
    "assay.review.v1.GetTaskRequest.task_id": _ID,
    "assay.review.v1.ListTasksRequest.page_size": _PAGE_SIZE,
    "assay.review.v1.ReviewRequested.confidence": _CONFIDENCE,
    "assay.review.v1.ReviewRequested.threshold": _CONFIDENCE,
}

_T = FieldDescriptorProto
_INTEGERS = {_T.TYPE_INT32, _T.TYPE_SINT32, _T.TYPE_SFIXED32, _T.TYPE_UINT32, _T.TYPE_FIXED32}
_UNSIGNED = {_T.TYPE_UINT32, _T.TYPE_FIXED32}
_LONG = {_T.TYPE_INT64, _T.TYPE_SINT64, _T.TYPE_SFIXED64, _T.TYPE_UINT64, _T.TYPE_FIXED64}
_LONG_UNSIGNED = {_T.TYPE_UINT64, _T.TYPE_FIXED64}
_COMPOUND = {_T.TYPE_MESSAGE, _T.TYPE_ENUM}

# Messages that have a JSON form of their own.
_WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time", "examples": ["2026-01-31T09:30:00.125Z"]},
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$",
        "description": "Seconds, with up to nine decimals and the suffix s.",
        "examples": ["0.0125s"],
    },
}

_EXACTLY_ONE = "exactly one is set"


def component(full_name: str) -> str:
    """Returns the name under components/schemas: assay.ai.v1.TextRequest is ai.v1.TextRequest there."""
    return full_name.removeprefix("assay.")


def reference(full_name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{component(full_name)}"}


class Schemas:
    """Makes the schema of each message and enum. `requests` names the messages that callers send."""

    def __init__(self, descriptors: Descriptors, requests: set[str]) -> None:
        self._descriptors = descriptors
        self._requests = requests

    def of(self, full_name: str) -> Schema:
        """Raises KeyError for a name that is neither in the descriptor set nor has a JSON form of its own."""
        if full_name in self._descriptors.enums:
            return _enum(self._descriptors.enums[full_name])
        return self._message(self._descriptors.messages[full_name])

    def field(self, message: str, field: Field) -> Schema:
        """The schema of one field with its description, as a property or a query parameter has it."""
        schema = self._repeatable(field)
        if "$ref" in schema and "description" not in schema:
            # A sibling of $ref is allowed since 3.1 and says what the field means, not what its type is.
            return {**schema, "description": prose(field.comment)}
        return {
            **schema,
            **CONSTRAINTS.get(f"{message}.{field.name}", {}),
            "description": prose(field.comment),
        }

    def _message(self, message: Message) -> Schema:
        schema: Schema = {"type": "object", "description": prose(message.comment)}
        properties = {field.name: self.field(message.full_name, field) for field in message.fields}
        sent = message.full_name in self._requests
        if required := [field.name for field in message.fields if (field.required if sent else _always_printed(field))]:
            schema["required"] = required
        schema["properties"] = properties
        if sent:
            schema["additionalProperties"] = False
        for index, comment in enumerate(message.oneofs):
            schema |= _choice(
                [f.name for f in message.fields if f.descriptor.oneof_index == index and _chosen(f)], comment
            )
        return schema

    def _repeatable(self, field: Field) -> Schema:
        if not field.repeated:
            return self._single(field)
        target = self._descriptors.messages.get(field.type_name)
        if target is not None and target.descriptor.options.map_entry:
            return {"type": "object", "additionalProperties": self._single(target.fields[1])}
        return {"type": "array", "items": self._single(field)}

    def _single(self, field: Field) -> Schema:
        kind = field.descriptor.type
        if kind in _COMPOUND:
            known = _WELL_KNOWN.get(field.type_name)
            return dict(known) if known is not None else reference(field.type_name)
        if kind == _T.TYPE_STRING:
            return {"type": "string"}
        if kind == _T.TYPE_BOOL:
            return {"type": "boolean"}
        if kind == _T.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64"}
        if kind in (_T.TYPE_FLOAT, _T.TYPE_DOUBLE):
            return {"type": "number", "format": "float" if kind == _T.TYPE_FLOAT else "double"}
        if kind in _INTEGERS:
            return {"type": "integer", "format": "int32", **({"minimum": 0} if kind in _UNSIGNED else {})}
        if kind in _LONG:
            # JavaScript's numbers end at 2^53, so the mapping writes these as strings.
            sign = "" if kind in _LONG_UNSIGNED else "-?"
            return {"type": "string", "format": "int64", "pattern": f"^{sign}[0-9]+$"}
        raise NotImplementedError(f"{field.name}: no schema for field type {kind}")


def has_component(full_name: str) -> bool:
    """Whether a message or enum has a component of its own; google.rpc.* are written by hand in errors.py."""
    return full_name.startswith("assay.")


def _chosen(field: Field) -> bool:
    return field.descriptor.HasField("oneof_index") and not field.descriptor.proto3_optional


def _always_printed(field: Field) -> bool:
    """Whether an answer shows the field even when it holds its default: Envoy's always_print_primitive_fields."""
    if field.repeated:
        return True
    return field.descriptor.type != _T.TYPE_MESSAGE and not field.descriptor.HasField("oneof_index")


def _choice(names: list[str], comment: str) -> Schema:
    if len(names) < 2:
        return {}
    branches: list[Schema] = [{"title": name, "required": [name]} for name in names]
    if _EXACTLY_ONE not in comment.lower():
        branches.append({"title": "none", "not": {"anyOf": [{"required": [name]} for name in names]}})
    return {"oneOf": branches}


def _enum(enum: Enum) -> Schema:
    lines = [f"- `{name}`: {prose(comment)}" for name, comment in enum.values]
    return {
        "type": "string",
        "enum": [name for name, _ in enum.values],
        "description": "\n".join([prose(enum.comment), "", *lines]),
    }
