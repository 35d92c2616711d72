"""Finds messages, enums and services in a descriptor set, each with the comment that stands above it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.api import annotations_pb2, field_behavior_pb2, http_pb2
from google.protobuf import descriptor_pb2

Path = tuple[int, ...]
Value = TypeVar("Value")

# Field numbers in descriptor.proto, of which the paths of source locations are made.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM, _MESSAGE_ONEOF = 2, 3, 4, 8
_ENUM_VALUE, _SERVICE_METHOD = 2, 2


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message. `oneof` is the index of the oneof that it belongs to, if any."""

    descriptor: descriptor_pb2.FieldDescriptorProto
    comment: str

    @property
    def name(self) -> str:
        return self.descriptor.name

    @property
    def required(self) -> bool:
        """Whether google.api.field_behavior says that a request must have it."""
        behaviors = self.descriptor.options.Extensions[field_behavior_pb2.field_behavior]
        return field_behavior_pb2.REQUIRED in behaviors

    @property
    def repeated(self) -> bool:
        return self.descriptor.label == descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED

    @property
    def type_name(self) -> str:
        """The full name of the message or enum, without the leading dot; empty for a scalar."""
        return self.descriptor.type_name.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Message:
    full_name: str
    descriptor: descriptor_pb2.DescriptorProto
    comment: str
    fields: Sequence[Field]
    # The comment of each oneof, by its index.
    oneofs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Enum:
    full_name: str
    comment: str
    # Name and comment of each value that can be sent, in the order of the proto; zero, never sent, is left out.
    values: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC. `rule` is its google.api.http annotation, None where it has none."""

    name: str
    service: str
    comment: str
    request: str
    response: str
    rule: http_pb2.HttpRule | None
    streaming: bool


@dataclass(frozen=True, slots=True)
class Service:
    full_name: str
    comment: str
    methods: Sequence[Method]


class Descriptors:
    """Everything of a descriptor set that was made with --include_imports and --include_source_info."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        self.messages: dict[str, Message] = {}
        self.enums: dict[str, Enum] = {}
        self.services: dict[str, Service] = {}
        for file in files.file:
            comments = {tuple(location.path): location.leading_comments for location in file.source_code_info.location}
            for index, message in enumerate(file.message_type):
                self._add_message(file.package, message, (_FILE_MESSAGE, index), comments)
            for index, enum in enumerate(file.enum_type):
                self._add_enum(file.package, enum, (_FILE_ENUM, index), comments)
            for index, service in enumerate(file.service):
                self._add_service(file.package, service, (_FILE_SERVICE, index), comments)

    def reachable(self, names: Sequence[str]) -> Iterator[str]:
        """Yields the full names of the messages and enums that the messages `names` are made of, themselves first."""
        waiting, seen = list(names), set[str]()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            yield name
            if name in self.messages:
                waiting.extend(field.type_name for field in self.messages[name].fields if field.type_name)

    def _add_message(
        self, scope: str, message: descriptor_pb2.DescriptorProto, path: Path, comments: dict[Path, str]
    ) -> None:
        full_name = f"{scope}.{message.name}"
        fields = [
            Field(field, comments.get((*path, _MESSAGE_FIELD, index), "")) for index, field in enumerate(message.field)
        ]
        oneofs = [comments.get((*path, _MESSAGE_ONEOF, index), "") for index in range(len(message.oneof_decl))]
        self.messages[full_name] = Message(full_name, message, comments.get(path, ""), fields, oneofs)
        for index, nested in enumerate(message.nested_type):
            self._add_message(full_name, nested, (*path, _MESSAGE_NESTED, index), comments)
        for index, enum in enumerate(message.enum_type):
            self._add_enum(full_name, enum, (*path, _MESSAGE_ENUM, index), comments)

    def _add_enum(
        self, scope: str, enum: descriptor_pb2.EnumDescriptorProto, path: Path, comments: dict[Path, str]
    ) -> None:
        values = [
            (value.name, comments.get((*path, _ENUM_VALUE, index), ""))
            for index, value in enumerate(enum.value)
            if value.number != 0
        ]
        full_name = f"{scope}.{enum.name}"
        self.enums[full_name] = Enum(full_name, comments.get(path, ""), values)

    def _add_service(
        self, scope: str, service: descriptor_pb2.ServiceDescriptorProto, path: Path, comments: dict[Path, str]
    ) -> None:
        full_name = f"{scope}.{service.name}"
        methods = []
        for index, method in enumerate(service.method):
            annotated = method.options.HasExtension(annotations_pb2.http)
            methods.append(
                Method(
                    name=method.name,
                    service=full_name,
                    comment=comments.get((*path, _SERVICE_METHOD, index), ""),
                    request=method.input_type.removeprefix("."),
                    response=method.output_type.removeprefix("."),
                    rule=method.options.Extensions[annotations_pb2.http] if annotated else None,
                    streaming=method.client_streaming or method.server_streaming,
                )
            )
        self.services[full_name] = Service(full_name, comments.get(path, ""), methods)


def prose(comment: str) -> str:
    """Joins the lines of each paragraph of a comment."""
    paragraphs = comment.strip().split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)
