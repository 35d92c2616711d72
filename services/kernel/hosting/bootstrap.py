"""Envoy's bootstrap configuration for an Edge, as a plain dict.

The way of a request: CORS, gRPC-Web and JSON are turned into gRPC by Envoy's filters, then the application inside (a
dynamic module) answers, or the router sends it on. Which filters a request meets is its route's choice (routes.py).
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2

from services.kernel.hosting import replies, routes, static
from services.kernel.hosting.edge import Edge

Config = dict[str, Any]

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"

_MAX_STREAMS = 1024
_MAX_CONNECTIONS = 10_000
_HEADERS_KB = 16
_MAX_HEADERS = 100
_IDLE = "900s"
# JSON around a message of the largest size.
_BODY_SLACK = 64 * 1024


def bootstrap(edge: Edge) -> Config:
    """Returns the whole configuration; writes nothing.

    Raises:
        ValueError: the edge names neither an application nor an upstream, or both.
    """
    if (edge.application is None) == (edge.upstream is None):
        raise ValueError("an edge has either an application inside or an upstream")
    clusters = [_cluster(name, address) for name, address in edge.proxied.items()]
    if edge.upstream is not None:
        clusters.append(_cluster(routes.APPLICATION, edge.upstream, checked=True))
    else:
        clusters.append({"name": routes.NOBODY, "type": "STATIC"})
    return {
        "admin": {"address": _address(edge.admin_listen)},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": _MAX_CONNECTIONS,
                    },
                }
            ]
        },
        "static_resources": {"listeners": [_listener(edge)], "clusters": clusters},
    }


def descriptors(edge: Edge) -> bytes:
    """Returns the edge's descriptor set with the types of error details, which the transcoder needs to print them."""
    files = descriptor_pb2.FileDescriptorSet.FromString(edge.descriptors.read_bytes())
    known = {file.name for file in files.file}
    for descriptor in (*error_details_pb2.DESCRIPTOR.dependencies, error_details_pb2.DESCRIPTOR):
        if descriptor.name not in known:
            descriptor.CopyToProto(files.file.add())
    return files.SerializeToString()


def _address(address: str) -> Config:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _listener(edge: Edge) -> Config:
    return {
        "name": "public",
        "address": _address(edge.listen),
        "per_connection_buffer_limit_bytes": edge.max_request_bytes + _BODY_SLACK,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": _http(edge)}]}
        ],
    }


def _http(edge: Edge) -> Config:
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "AUTO",
        "server_name": "assay",
        "use_remote_address": True,
        "skip_xff_append": True,
        "normalize_path": True,
        "merge_slashes": True,
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "max_request_headers_kb": _HEADERS_KB,
        "request_headers_timeout": "10s",
        # Deadlines are the application's; only a stream on which nothing moves at all ends here.
        "request_timeout": "0s",
        "stream_idle_timeout": _IDLE,
        "common_http_protocol_options": {"idle_timeout": _IDLE, "max_headers_count": _MAX_HEADERS},
        "http2_protocol_options": {
            "max_concurrent_streams": _MAX_STREAMS,
            "initial_stream_window_size": 1024 * 1024,
            "initial_connection_window_size": 8 * 1024 * 1024,
        },
        "route_config": routes.route_config(edge, descriptors(edge)),
        "http_filters": _filters(edge),
        "local_reply_config": replies.local_reply_config(edge.max_request_bytes),
        "access_log": replies.access_log(edge.access_log),
    }


def _filters(edge: Edge) -> list[Config]:
    transcoder = {
        "@type": f"{_FILTERS}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": str(edge.folder / "descriptors.binpb"),
        "services": list(edge.services),
        # Every field is printed, by its name in the proto, so that an empty review_task_id or a confidence of 0 shows.
        "print_options": {"preserve_proto_field_names": True, "always_print_primitive_fields": True},
        "convert_grpc_status": True,
        "request_validation_options": {
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        "max_request_body_size": edge.max_request_bytes + _BODY_SLACK,
        "query_param_unescape_plus": True,
    }
    filters: list[Config] = [
        {"name": routes.CORS, "typed_config": {"@type": f"{_FILTERS}.cors.v3.Cors"}},
        {"name": routes.GRPC_WEB, "typed_config": {"@type": f"{_FILTERS}.grpc_web.v3.GrpcWeb"}},
        # Off but for the routes that bring a script along.
        {"name": routes.LUA, "disabled": True, "typed_config": {"@type": f"{_FILTERS}.lua.v3.Lua"}},
        {"name": routes.TRANSCODER, "typed_config": transcoder},
    ]
    if edge.application is not None:
        filters.append(_inside(edge.application))
    else:
        filters += [_health_check(), _only_grpc(edge)]
    router = {"@type": f"{_FILTERS}.router.v3.Router", "suppress_envoy_headers": True}
    filters.append({"name": "envoy.filters.http.router", "typed_config": router})
    return filters


def _inside(application: str) -> Config:
    """Returns the filter that answers with the application, wherever a route does not turn it off."""
    settings = {"app": application, "interface": "asgi", "root_path": "", "lifespan": True, "loop": "uvloop"}
    return {
        "name": routes.INSIDE,
        "typed_config": {
            "@type": f"{_FILTERS}.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"module": {"local": {"filename": _module_path()}}},
            "filter_name": "pyvoy",
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": json.dumps(settings),
            },
        },
    }


def _module_path() -> str:
    found = importlib.util.find_spec("pyvoy")
    if found is None or found.origin is None:
        raise ValueError("pyvoy is not installed")
    return str(next(Path(found.origin).parent.glob("_pyvoy*.so")))


def _health_check() -> Config:
    return {
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": f"{_FILTERS}.health_check.v3.HealthCheck",
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"exact": "/healthz"}}],
            "cluster_min_healthy_percentages": {routes.APPLICATION: {"value": 100}},
        },
    }


def _only_grpc(edge: Edge) -> Config:
    """Returns the filter that turns away, as a 404 (replies.py), what the grpc.aio server could not understand."""
    grpc = {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}
    files = [{"url_path": {"path": {"prefix": prefix}}} for prefix in static.prefixes(edge.static)]
    policy = {"permissions": [grpc, *files], "principals": [{"any": True}]}
    rules = {"action": "ALLOW", "policies": {"understood": policy}}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {"@type": f"{_FILTERS}.rbac.v3.RBAC", "rules": rules},
    }


def _cluster(name: str, address: str, checked: bool = False) -> Config:
    host = address.rpartition(":")[0].strip("[]")
    numeric = host.replace(".", "").isdigit() or ":" in host
    cluster: Config = {
        "name": name,
        "type": "STATIC" if numeric else "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(address)}}]}],
        },
        "circuit_breakers": {
            "thresholds": [{"max_connections": 64, "max_pending_requests": 4096, "max_requests": 4096}]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "max_concurrent_streams": _MAX_STREAMS,
                        "connection_keepalive": {"interval": "10s", "timeout": "2s"},
                    }
                },
            }
        },
    }
    if checked:
        cluster["health_checks"] = [
            {
                "timeout": "2s",
                "interval": "1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ]
    return cluster
