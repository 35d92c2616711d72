"""The REST side as the protos annotate it (`google.api.http`): which requests carry a JSON body, and of what shape.

Envoy's transcoder drops fields that the message doesn't have, takes the last of two equal keys, nests without end and
complains about the rest by quoting it. So a script in front of it (strict.lua) reads the body and the query first, and
says which field is wrong and why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from services.kernel.faults import Fault
from services.kernel.presentable import LUA

# Under this name the script notes what it found, in Envoy's dynamic metadata: `field`, `fault`, `fault_zh`, and
# `known`, the field without a name that the caller made up.
NOTED = "assay.refusal"

_SCRIPT = Path(__file__).with_name("strict.lua")
_TYPE = descriptor_pb2.FieldDescriptorProto
_METHODS = ("get", "put", "post", "delete", "patch")
_WELL_KNOWN = "google.protobuf."

# What a value is, what it must be, and what JSON lacks, in both languages.
_WORDS: Mapping[str, tuple[str, str]] = {
    "string": ("a string", "字符串"),
    "number": ("a number", "数字"),
    "boolean": ("a boolean", "布尔值"),
    "null": ("null", "空值 null"),
    "array": ("an array", "数组"),
    "object": ("an object", "对象"),
    "float": ("a number", "数字"),
    "bytes": ("a string in Base64", "以 Base64 编码的字符串"),
    "timestamp": ("a time such as 2026-01-31T08:00:00Z", "形如 2026-01-31T08:00:00Z 的时间"),
    "value": ("a value", "一个值"),
    "name": ("a field's name in double quotes", "双引号中的字段名"),
    "colon": ("a colon", "冒号"),
    "comma_or_brace": ("a comma or }", "逗号或 }"),
    "comma_or_bracket": ("a comma or ]", "逗号或 ]"),
    "quote": ("a closing double quote", "右双引号"),
    "control": ("an escape such as \\n, not a control character itself", "转义（如 \\n），而不是控制字符本身"),
    "escape": (
        "an escape that JSON has, such as \\n or \\u with four digits",
        "有效的转义，如 \\n 或 \\u 加四位十六进制数",
    ),
    "ending": ("nothing more", "结尾"),
}

_SIGNED_32, _UNSIGNED_32 = (-(2**31), 2**31 - 1), (0, 2**32 - 1)
_SIGNED_64, _UNSIGNED_64 = (-(2**63), 2**63 - 1), (0, 2**64 - 1)
_RANGES: Mapping[int, tuple[int, int]] = {
    **dict.fromkeys((_TYPE.TYPE_INT32, _TYPE.TYPE_SINT32, _TYPE.TYPE_SFIXED32), _SIGNED_32),
    **dict.fromkeys((_TYPE.TYPE_UINT32, _TYPE.TYPE_FIXED32), _UNSIGNED_32),
    **dict.fromkeys((_TYPE.TYPE_INT64, _TYPE.TYPE_SINT64, _TYPE.TYPE_SFIXED64), _SIGNED_64),
    **dict.fromkeys((_TYPE.TYPE_UINT64, _TYPE.TYPE_FIXED64), _UNSIGNED_64),
}
_KINDS: Mapping[int, str] = {
    _TYPE.TYPE_STRING: "string",
    _TYPE.TYPE_BYTES: "bytes",
    _TYPE.TYPE_BOOL: "boolean",
    _TYPE.TYPE_FLOAT: "float",
    _TYPE.TYPE_DOUBLE: "float",
}


class Rule(NamedTuple):
    """One REST route: the service, the HTTP method, the path as a regular expression, the full name of the message that
    the body holds (None without a body), and that of the message whose fields the query may name (None: no field)."""

    service: str
    method: str
    path: str
    body: str | None
    query: str | None


def rules(descriptors: bytes, services: Sequence[str]) -> list[Rule]:
    """Returns the routes of these services, additional bindings included."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors)
    types = _types(files)
    found: list[Rule] = []
    for file in files.file:
        for service in file.service:
            name = f"{file.package}.{service.name}"
            if name not in services:
                continue
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                for binding in (rule, *rule.additional_bindings):
                    found.extend(_rule(name, binding, types, method.input_type.lstrip(".")))
    return found


def _rule(service: str, binding: Any, types: dict[str, Any], message: str) -> Iterator[Rule]:
    kind = binding.WhichOneof("pattern")
    if kind not in _METHODS:
        return
    body: str | None = None
    if binding.body == "*":
        body = message
    elif binding.body:
        fields = {field.name: field for field in types[message].field}
        body = fields[binding.body].type_name.lstrip(".") or None
    query = None if binding.body == "*" else message
    yield Rule(service, kind.upper(), _expression(getattr(binding, kind)), body, query)


def _expression(template: str) -> str:
    """Turns a path template into a regular expression: "/v1/tasks/{id}:claim" into "/v1/tasks/[^/]+:claim"."""
    parts = re.split(r"(\{[^}]*\}|\*\*|\*)", template)
    wild = {True: ".+", False: "[^/]+"}
    return "".join(wild["**" in part] if part[:1] in ("{", "*") else re.escape(part) for part in parts)


def script(descriptors: bytes, body: str | None, query: str | None) -> str:
    """Returns the Lua source that refuses what is not JSON of the message `body`, or names no field of `query`."""
    types = _types(descriptor_pb2.FileDescriptorSet.FromString(descriptors))
    bodies: dict[str, Any] = {}
    if body is not None:
        _collect(body, types, bodies)
    parameters = {"known": "", "fields": {}} if query is None else _shape(types[query], types)
    given = {
        "NOTED": NOTED,
        "faults": {fault.name: {"en": fault.english, "zh": fault.chinese} for fault in Fault},
        "words": {key: _in_both(*words) for key, words in _WORDS.items()},
        "shapes": bodies,
        "parameters": parameters,
        "root": body or "",
        "has_body": body is not None,
    }
    head = "".join(f"local {name} = {as_lua(value)}\n" for name, value in given.items())
    return head + LUA + _SCRIPT.read_text()


def _types(files: descriptor_pb2.FileDescriptorSet) -> dict[str, Any]:
    """Returns every message and enum by its full name."""
    found: dict[str, Any] = {}

    def add(prefix: str, container: Any) -> None:
        for enum in container.enum_type:
            found[f"{prefix}.{enum.name}"] = enum
        nested = isinstance(container, descriptor_pb2.DescriptorProto)
        for message in container.nested_type if nested else container.message_type:
            found[f"{prefix}.{message.name}"] = message
            add(f"{prefix}.{message.name}", message)

    for file in files.file:
        add(file.package, file)
    return found


def _collect(name: str, types: dict[str, Any], shapes: dict[str, Any]) -> None:
    """Adds a message's shape, and those it reaches, by their names."""
    if name in shapes:
        return
    shapes[name] = _shape(types[name], types)
    for field in shapes[name]["fields"].values():
        if field["kind"] == "message":
            _collect(field["message"], types, shapes)


def _shape(message: Any, types: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a message by their names in both spellings, and a list of them for people."""
    fields: dict[str, Any] = {}
    for field in message.field:
        fields[field.name] = fields[field.json_name] = _field(field, types)
    return {"known": ", ".join(field.name for field in message.field), "fields": fields}


def _field(field: Any, types: dict[str, Any]) -> dict[str, Any]:
    """Returns what the script must know of a field.

    `kind` is string, bytes, boolean, integer, float, enum, timestamp, message, map or any: the other types of Google's
    own have JSON forms of their own, which are left to the transcoder. `checked` says that the value matters beside its
    JSON type.
    """
    target: Any = types.get(field.type_name.lstrip("."))
    shape: dict[str, Any] = {"name": field.name, "kind": _KINDS.get(field.type, "any")}
    is_map = field.type == _TYPE.TYPE_MESSAGE and target.options.map_entry
    shape["repeated"] = field.label == _TYPE.LABEL_REPEATED and not is_map
    if field.type in _RANGES:
        shape["kind"] = "integer"
        shape["low"], shape["high"] = low, high = _RANGES[field.type]
        shape["wanted"] = _in_both(f"a whole number from {low} to {high}", f"介于 {low} 与 {high} 之间的整数")
    elif field.type == _TYPE.TYPE_ENUM and not field.type_name.startswith(f".{_WELL_KNOWN}"):
        names = [value.name for value in target.value]
        shape["kind"], shape["names"] = "enum", dict.fromkeys(names, True)
        shape["wanted"] = _in_both(f"one of {', '.join(names)}, or its number", f"以下之一或其编号：{'、'.join(names)}")
    elif is_map:
        shape["kind"], shape["wanted"] = "map", _in_both(*_WORDS["object"])
    elif field.type == _TYPE.TYPE_MESSAGE and not field.type_name.startswith(f".{_WELL_KNOWN}"):
        shape["kind"], shape["message"] = "message", field.type_name.lstrip(".")
        shape["wanted"] = _in_both(*_WORDS["object"])
    elif field.type_name == f".{_WELL_KNOWN}Timestamp":
        shape["kind"], shape["wanted"] = "timestamp", _in_both(*_WORDS["timestamp"])
    elif shape["kind"] != "any":
        shape["wanted"] = _in_both(*_WORDS[shape["kind"]])
    shape["checked"] = shape["kind"] in ("integer", "float", "enum", "bytes", "timestamp")
    return shape


def _in_both(english: str, chinese: str) -> dict[str, str]:
    return {"en": english, "zh": chinese}


def as_lua(value: Any) -> str:
    """Returns a value of Python's (dictionary, string, number or boolean) as Lua source."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'[{as_lua(key)}] = {as_lua(inner)}' for key, inner in value.items())}}}"
    # JSON's escapes of quotes, backslashes and line ends are Lua's too.
    return json.dumps(value, ensure_ascii=False)
