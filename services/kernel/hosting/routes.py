"""Envoy's routes: where a request goes and which filters it meets on the way.

A route is chosen twice for REST. First by the path as sent, which decides the filters; then, when the transcoder has
made "/package.Service/Method" of it, again, for the cluster.
"""

from __future__ import annotations

from typing import Any

from services.kernel.hosting import alone, rest, static
from services.kernel.hosting.edge import Edge

Config = dict[str, Any]

CORS = "envoy.filters.http.cors"
GRPC_WEB = "envoy.filters.http.grpc_web"
LUA = "envoy.filters.http.lua"
TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
INSIDE = "inside"

APPLICATION = "application"
# Where routes lead whose requests are all answered before the router. They name a cluster all the same, because the
# CORS filter looks at no other routes.
NOBODY = "nobody"

_TYPES = "type.googleapis.com/envoy.extensions.filters.http"
_OFF = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}


def route_config(edge: Edge, descriptors: bytes) -> Config:
    """Returns every route of an edge; `descriptors` is its complete descriptor set."""
    otherwise = APPLICATION if edge.upstream is not None else NOBODY
    # The router serves these, not the application inside.
    elsewhere = {INSIDE: _OFF} if edge.application is not None else {}
    routes = [_with(_to({"prefix": f"/{name}/"}, name), elsewhere) for name in edge.proxied]
    routes += [_with(route, elsewhere) for route in static.routes(edge.static)]
    # gRPC proper meets no filter that is not for it: a third of Envoy's work for a small call.
    routes.append(_with(_to(_plain_grpc(), otherwise), dict.fromkeys((CORS, GRPC_WEB, TRANSCODER), _OFF)))
    written_down = alone.script(edge.access_log)
    for rule in rest.rules(descriptors, edge.services):
        matched = {"safe_regex": {"regex": rule.path}, "headers": [_header(":method", exact=rule.method)]}
        filters: Config = dict(elsewhere) if rule.service in edge.proxied else {}
        source = {"inline_string": written_down + rest.script(descriptors, rule.body, rule.query)}
        filters[LUA] = {"@type": f"{_TYPES}.lua.v3.LuaPerRoute", "source_code": source}
        routes.append(_with(_to(matched, otherwise), filters))
    routes.append(_to({"prefix": "/"}, otherwise))
    return {
        "name": "public",
        "max_direct_response_body_size_bytes": static.MAX_FILE_BYTES,
        "virtual_hosts": [
            {"name": "public", "domains": ["*"], "routes": routes, "typed_per_filter_config": {CORS: _cors(edge)}}
        ],
    }


def _plain_grpc() -> Config:
    web = {**_header("content-type", prefix="application/grpc-web"), "invert_match": True}
    not_a_page = {"name": "origin", "present_match": True, "invert_match": True}
    return {"prefix": "/", "headers": [_header("content-type", prefix="application/grpc"), web, not_a_page]}


def _header(name: str, **match: str) -> Config:
    return {"name": name, "string_match": match}


def _to(matched: Config, cluster: str) -> Config:
    # Only where the upstream can't have begun.
    retry = {"retry_on": "connect-failure,refused-stream", "num_retries": 2}
    return {"match": matched, "route": {"cluster": cluster, "timeout": "0s", "retry_policy": retry}}


def _with(route: Config, filters: Config) -> Config:
    return {**route, "typed_per_filter_config": filters} if filters else route


def _cors(edge: Edge) -> Config:
    return {
        "@type": f"{_TYPES}.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"safe_regex": {"regex": edge.cors_origins}}],
        "allow_methods": "GET, POST, OPTIONS",
        "allow_headers": "content-type, accept-language, authorization, grpc-timeout, traceparent, x-grpc-web, "
        "x-user-agent, x-request-id, x-assay-caller, x-assay-tenant, x-assay-subject",
        "expose_headers": "grpc-status, grpc-message, grpc-status-details-bin, x-request-id, retry-after",
        "max_age": "86400",
    }
