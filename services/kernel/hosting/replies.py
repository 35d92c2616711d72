"""What Envoy says by itself, in the one shape that errors have: google.rpc.Status, as JSON or as gRPC trailers.

A caller's own text is never repeated: the transcoder's complaint about malformed JSON quotes it, so it is replaced.
What strict.lua found stands in Envoy's dynamic metadata and is filled in.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from services.kernel.errors import AssayError, Reason
from services.kernel.faults import Fault
from services.kernel.hosting.alone import WRITTEN
from services.kernel.hosting.rest import NOTED
from services.kernel.presentable import HIDDEN, cel
from services.kernel.status import DETAILS_KEY, to_json, to_status

Config = dict[str, Any]


def _header(name: str, otherwise: str = "''") -> str:
    """Returns the expression for a request's header, or for what is taken without one."""
    return f"('{name}' in request.headers ? request.headers['{name}'] : {otherwise})"


# As the caller sent it, before a filter rewrote it, or else as rewritten; never with a query, which may hold a text.
_PATH = cel(_header("x-envoy-original-path", "request.url_path"), "request.url_path", otherwise=f"/{HIDDEN}")
_ANY_FAILURE = 400


def _noted(key: str) -> str:
    return f"%DYNAMIC_METADATA({NOTED}:{key})%"


def _errors(max_request_bytes: int) -> dict[int, AssayError]:
    """Returns the error of each HTTP status that Envoy's filters and router answer with."""
    return {
        400: AssayError(Reason.MESSAGE_MALFORMED, field="request", fault=Fault.HTTP),
        404: AssayError(Reason.METHOD_UNKNOWN, method=_PATH),
        405: AssayError(Reason.METHOD_UNKNOWN, method=_PATH),
        408: AssayError(Reason.DEADLINE_EXCEEDED),
        413: AssayError(Reason.MESSAGE_TOO_LARGE, bytes=f"over {max_request_bytes}", limit=max_request_bytes),
        415: AssayError(Reason.MESSAGE_MALFORMED, field="content-type", fault=Fault.CONTENT_TYPE),
        431: AssayError(
            Reason.FIELD_INVALID, field="headers", value="too large", limit="16 KiB and 100 headers at most"
        ),
        503: AssayError(Reason.PART_UNAVAILABLE, part="service"),
        504: AssayError(Reason.DEADLINE_EXCEEDED),
    }


# What gRPC makes of the HTTP statuses that can happen to a gRPC call here: UNIMPLEMENTED and UNAVAILABLE.
_OVER_GRPC = (404, 503)


def local_reply_config(max_request_bytes: int) -> Config:
    """Returns the rewriting of Envoy's own answers: by status, by language, and for gRPC as status details."""
    errors = _errors(max_request_bytes)
    mappers = [_grpc_mapper(status, errors[status]) for status in _OVER_GRPC]
    # Whatever else a gRPC caller is told stays a gRPC status without a JSON body in it.
    mappers.append({"filter": _is_grpc()})
    mappers += _found_mappers()
    for status, error in errors.items():
        # 403 is how the filter before grpc.aio turns away what is no RPC (bootstrap.py).
        for matched in (404, 403) if status == 404 else (status,):
            mappers += [_json_mapper(_status_is("EQ", matched), error, said, status) for said in ("zh", "en")]
    for lowest, error in ((500, AssayError(Reason.INTERNAL)), (_ANY_FAILURE, errors[400])):
        mappers += [_json_mapper(_status_is("GE", lowest), error, said) for said in ("zh", "en")]
    return {"mappers": mappers}


def access_log(path: Path) -> list[Config]:
    """Returns the log of calls that Envoy answered by itself with a failure: one JSON object a line.

    Calls that reached an application are not in it: they have no response code details, or "via_upstream". Those that a
    script wrote into the same file before they were answered (alone.lua) are not written again; their lines have the
    same form, but for `peer`, and "alone" for `details`.

    `time` (RFC 3339, UTC), `method` (HTTP), `path` (as sent, without query), `status` (HTTP), `grpc_status` (its name,
    null without), `details` (Envoy's response code details, without the transcoder's quotation), `flags` (Envoy's
    response flags), `request_id`, `caller` and `tenant` (the headers x-assay-caller and x-assay-tenant), `peer`
    (address without port), `request_bytes`, `duration_ms`; `field` and `fault` (English) where strict.lua found one.
    What Envoy doesn't know is null. Nothing here is a caller's text, and no field's name that a caller made up.
    """
    fields = {
        "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "method": "%REQ(:METHOD)%",
        "path": _PATH,
        "status": "%RESPONSE_CODE%",
        "grpc_status": "%GRPC_STATUS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "request_id": cel(_header("x-request-id"), otherwise="", uuid=True),
        "caller": cel(_header("x-assay-caller")),
        "tenant": cel(_header("x-assay-tenant")),
        "peer": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "request_bytes": "%BYTES_RECEIVED%",
        "duration_ms": "%DURATION%",
        "field": _noted("known"),
        "fault": _noted("fault"),
    }
    # The native filters go first: they are cheap, and most calls end well.
    failed = {
        "or_filter": {
            "filters": [
                _status_is("GE", _ANY_FAILURE),
                {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}},
            ]
        }
    }
    alone = "response.code_details != '' && response.code_details != 'via_upstream'"
    grpc = "'content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc')"
    expression = f"{alone} && (response.code >= 400 || ({grpc} && response.grpc_status != 0))"
    by_envoy = {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                "expression": expression,
            },
        }
    }
    # This filter heeds no `invert`, so it looks for the false that the script never sets.
    unset = {"filter": NOTED, "path": [{"key": WRITTEN}], "value": {"bool_match": False}}
    unwritten = {"metadata_filter": {"matcher": unset, "match_if_key_not_found": True}}
    return [
        {
            "name": "envoy.access_loggers.file",
            "filter": {"and_filter": {"filters": [failed, by_envoy, unwritten]}},
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": str(path),
                "log_format": {"json_format": fields},
            },
        }
    ]


def _status_is(op: str, status: int) -> Config:
    value = {"default_value": status, "runtime_key": f"assay.local_reply.{status}"}
    return {"status_code_filter": {"comparison": {"op": op, "value": value}}}


def _is_grpc() -> Config:
    """Matches gRPC and gRPC-Web, but not REST, whose content type the transcoder has replaced by now."""
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    rest = {"name": "x-envoy-original-path", "present_match": True, "invert_match": True}
    return {"and_filter": {"filters": [{"header_filter": {"header": header}} for header in (grpc, rest)]}}


def _speaks_chinese() -> Config:
    match = {"name": "accept-language", "string_match": {"safe_regex": {"regex": r"(?i)\s*zh\b.*"}}}
    return {"header_filter": {"header": match}}


def _json_mapper(matched: Config, error: AssayError, language: str, status: int | None = None) -> Config:
    mapper: Config = {
        "filter": {"and_filter": {"filters": [matched, _speaks_chinese()]}} if language == "zh" else matched,
        "body_format_override": {"json_format": to_json(to_status(error, language))},
    }
    if status is not None:
        mapper["status_code"] = status
    return mapper


def _found_mappers() -> list[Config]:
    """Returns the answers, Chinese and English, that name the field and the fault which strict.lua noted."""
    error = AssayError(Reason.MESSAGE_MALFORMED, field=_noted("field"), fault=_noted("fault"))
    noted = {
        "metadata_filter": {
            "matcher": {"filter": NOTED, "path": [{"key": "field"}], "value": {"present_match": True}},
            "match_if_key_not_found": False,
        }
    }
    mappers = [_json_mapper(noted, error, said, 400) for said in ("zh", "en")]
    for detail in mappers[0]["body_format_override"]["json_format"]["details"]:
        if "locale" in detail:
            detail["message"] = detail["message"].replace(_noted("fault"), _noted("fault_zh"))
    return mappers


def _grpc_mapper(status: int, error: AssayError) -> Config:
    error = AssayError(
        error.reason, **{key: "this" if value == _PATH else value for key, value in error.metadata.items()}
    )
    rendered = to_status(error)
    details = base64.b64encode(rendered.SerializeToString()).rstrip(b"=").decode()
    return {
        "filter": {"and_filter": {"filters": [_is_grpc(), _status_is("EQ", status)]}},
        "body": {"inline_string": rendered.message},
        "headers_to_add": [{"header": {"key": DETAILS_KEY, "value": details}}],
    }
