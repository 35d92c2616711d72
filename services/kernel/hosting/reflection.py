"""grpc.reflection, v1 and v1alpha.

The two protocols have the same messages under different package names, so one servicer on the library's base answers
both; only v1's file has to be made known to the descriptor pool, for callers who ask about reflection itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
V1 = "grpc.reflection.v1.ServerReflection"
_V1_FILE = "grpc/reflection/v1/reflection.proto"


def _publish_v1() -> None:
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(_V1_FILE)
    except KeyError:
        proto = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(proto)
        _rename(proto)
        pool.AddSerializedFile(proto.SerializeToString())


def _rename(proto: descriptor_pb2.FileDescriptorProto) -> None:
    old, new = ".grpc.reflection.v1alpha.", ".grpc.reflection.v1."
    proto.name, proto.package = _V1_FILE, "grpc.reflection.v1"
    for message in proto.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(old, new)
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(old, new)
            method.output_type = method.output_type.replace(old, new)


class _Servicer(ReflectionServicer):  # type: ignore[misc]  # the library has no types
    def _file_containing_symbol(self, request: Any, fully_qualified_name: str) -> Any:
        """Finds methods, fields and enum values too, which the pool knows only by what they stand in."""
        response = super()._file_containing_symbol(request, fully_qualified_name)
        holder = fully_qualified_name.rpartition(".")[0]
        if response.HasField("error_response") and holder:
            found = super()._file_containing_symbol(request, holder)
            return response if found.HasField("error_response") else found
        return response


def add_reflection(service_names: Iterable[str], server: Any) -> None:
    """Registers both versions, which list `service_names` and themselves."""
    _publish_v1()
    servicer = _Servicer([*service_names, V1, V1ALPHA])
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (V1, V1ALPHA):
        server.add_registered_method_handlers(name, {"ServerReflectionInfo": handler})
