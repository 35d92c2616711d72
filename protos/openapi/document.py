"""Puts the OpenAPI 3.1 document together: routes from google.api.http, words from the comments of the protos."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.api import http_pb2
from google.protobuf import descriptor_pb2

from protos.openapi import errors, examples
from protos.openapi.descriptors import Descriptors, Message, Method, Service, prose
from protos.openapi.schemas import Schema, Schemas, component, has_component, reference
from services.kernel.errors import CATALOGUE
from services.kernel.status import HTTP_STATUS

_ROOT = Path(__file__).resolve().parents[2]
_PATH_FIELD = re.compile(r"\{([a-z_]+)\}")

_ABOUT = """\
Send a text, get a label: every answer names the model version that gave it and the audit event that records it, and a
doubtful answer becomes a task for a person.

送入一段文本，返回一个标签：每个结果都注明模型版本和审计记录；置信度不足的结果会转交人工复核。

The same calls work over gRPC and gRPC-Web on this port; each operation below names its RPC, and `grpcurl` can list
them. Field names are those of the protos, 64-bit integers are strings and bytes are base64. An answer shows empty
fields too, such as a `review_task_id` of `""` where no review is needed. Answers may gain fields: ignore what you don't
know. In a request an unknown field is an error.

## Errors

Every error is a `google.rpc.Status` whose `ErrorInfo` holds one of these reasons. Ask for Chinese with
`Accept-Language: zh`.
"""


def document(files: descriptor_pb2.FileDescriptorSet) -> dict[str, Any]:
    """Returns the OpenAPI document of every RPC that has an HTTP route.

    Raises:
        ValueError: when a comment or annotation that the document needs is missing or of a form not handled here.
    """
    descriptors = Descriptors(files)
    services = [service for service in descriptors.services.values() if any(m.rule for m in service.methods)]
    routed = [method for service in services for method in service.methods if method.rule is not None]
    sent = set(descriptors.reachable([m.request for m in routed if m.rule and m.rule.body]))
    schemas = Schemas(descriptors, sent)
    shown = [method.response for method in routed] + [m.request for m in routed if m.rule and m.rule.body]
    enums = [name for m in routed for name in descriptors.reachable([m.request]) if name in descriptors.enums]
    components = {
        component(name): schemas.of(name)
        for name in sorted({*descriptors.reachable(shown), *enums})
        if has_component(name) and not _is_map_entry(descriptors, name)
    }
    paths: dict[str, Any] = {}
    for method in routed:
        for verb, path in _routes(method.rule):
            paths.setdefault(path, {})[verb] = _operation(method, path, descriptors, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Assay",
            "version": _version(),
            "summary": "Text classification as a governed service",
            "description": _ABOUT + _reasons(descriptors),
        },
        "servers": [{"url": "/", "description": "The port that serves this document"}],
        "tags": [_tag(service) for service in services],
        "paths": paths,
        "components": {
            "schemas": {**components, **{component(k): v for k, v in errors.schemas().items()}},
            "responses": {f"Error{status}": response for status, response in errors.responses(descriptors).items()},
            "parameters": _HEADERS,
        },
    }


def render(files: descriptor_pb2.FileDescriptorSet) -> str:
    """Returns the document as JSON text; equal descriptors give equal text."""
    return json.dumps(document(files), ensure_ascii=False, indent=1) + "\n"


_HEADERS: dict[str, Any] = {
    "AcceptLanguage": {
        "name": "Accept-Language",
        "in": "header",
        "description": "The language of the LocalizedMessage in errors: `zh` or, by default, `en`.",
        "schema": {"type": "string", "default": "en", "examples": ["zh", "zh-CN,zh;q=0.9,en;q=0.5"]},
    },
    "Caller": {
        "name": "X-Assay-Caller",
        "in": "header",
        "description": "Who calls, as the audit log will name it. Default: `anonymous`.",
        "schema": {"type": "string"},
    },
    "Deadline": {
        "name": "Grpc-Timeout",
        "in": "header",
        "description": "How long the caller waits, a number and its unit, as gRPC has it: `500m` is half a second, "
        "`2S` two seconds. Later than that the answer is a 504.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,8}[HMSmun]$"},
    },
}


def _version() -> str:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def _is_map_entry(descriptors: Descriptors, name: str) -> bool:
    message = descriptors.messages.get(name)
    return message is not None and message.descriptor.options.map_entry


def _routes(rule: http_pb2.HttpRule | None) -> Iterator[tuple[str, str]]:
    if rule is None:
        return
    verb = rule.WhichOneof("pattern")
    if verb is None or verb == "custom":
        raise ValueError(f"not handled: an HTTP rule with {verb} as its pattern")
    yield verb, getattr(rule, verb)
    for further in rule.additional_bindings:
        yield from _routes(further)


def _tag(service: Service) -> Schema:
    name = service.full_name.rpartition(".")[2]
    unrouted = [
        f"Over gRPC only: `{service.full_name}/{method.name}`. {prose(method.comment)}"
        for method in service.methods
        if method.rule is None
    ]
    return {"name": name, "description": "\n\n".join([prose(service.comment), *unrouted])}


def _operation(method: Method, path: str, descriptors: Descriptors, schemas: Schemas) -> Schema:
    assert method.rule is not None
    request = descriptors.messages[method.request]
    in_path = _PATH_FIELD.findall(path)
    if method.rule.body not in ("", "*"):
        raise ValueError(f"not handled: {method.name} takes only {method.rule.body} from the body")
    comment = prose(method.comment)
    service = method.service.rpartition(".")[2]
    operation: Schema = {
        "tags": [service],
        "operationId": f"{service}_{method.name}",
        "summary": comment.partition(". ")[0].rstrip("."),
        "description": f"{comment}\n\ngRPC: `{method.service}/{method.name}`",
        "parameters": [
            *_parameters(request, in_path, bool(method.rule.body), schemas),
            *({"$ref": f"#/components/parameters/{name}"} for name in _HEADERS),
        ],
    }
    if method.rule.body:
        if in_path:
            raise ValueError(f"not handled: {method.name} has fields in its path and a body")
        operation["requestBody"] = {"required": True, "content": {"application/json": _content(method.request)}}
    operation["responses"] = {
        "200": {
            "description": _answer(descriptors, method),
            "content": {"application/json": _content(method.response)},
        },
        **{
            str(status): {"$ref": f"#/components/responses/Error{status}"}
            for status in sorted({HTTP_STATUS[spec.code] for spec in CATALOGUE.values()})
        },
        "default": {"$ref": "#/components/responses/Error"},
    }
    return operation


def _content(full_name: str) -> Schema:
    shown = examples.of(full_name)
    return {"schema": reference(full_name), **({"examples": shown} if shown else {})}


def _answer(descriptors: Descriptors, method: Method) -> str:
    return prose(descriptors.messages[method.response].comment)


def _parameters(request: Message, in_path: list[str], body: bool, schemas: Schemas) -> Iterator[Schema]:
    for field in request.fields:
        if body and field.name not in in_path:
            continue
        schema = schemas.field(request.full_name, field)
        words = schema.pop("description")
        place = "path" if field.name in in_path else "query"
        yield {
            "name": field.name,
            "in": place,
            **({"required": True} if place == "path" or field.required else {}),
            "description": words,
            "schema": schema,
        }


def _reasons(descriptors: Descriptors) -> str:
    lines = ["| Reason | HTTP | gRPC | When |", "| --- | --- | --- | --- |"]
    for reason, meaning in errors.meanings(descriptors).items():
        code = CATALOGUE[reason].code
        lines.append(f"| `{reason.name}` | {HTTP_STATUS[code]} | {code.name} | {meaning} |")
    # Folded, so that the operations come first on a page; Markdown needs the empty lines.
    return "\n<details><summary>All reasons</summary>\n\n" + "\n".join(lines) + "\n\n</details>\n"
