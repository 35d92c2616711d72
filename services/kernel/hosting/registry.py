"""Takes what generated `add_XServicer_to_server` functions register, for either host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from services.kernel.hosting.calls import Calls, Method


class _Details(NamedTuple):
    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


class Registry:
    """Stands where generated code expects a grpc.aio.Server, and finds a method by its path."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        # By path. For a host to look into first, when looking up is what it does most.
        self.methods: dict[str, Method] = {}
        self._generic: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Adds handlers that are asked for each path that no registered method has."""
        self._generic.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Adds the methods of one service by name."""
        for name, handler in handlers.items():
            self.methods[f"/{service}/{name}"] = self.calls.method(service, name, handler)

    def find(self, path: str) -> Method | None:
        """Returns the method at "/package.Service/Method"; None where there is none."""
        method = self.methods.get(path)
        if method is not None:
            return method
        for generic in self._generic:
            handler = generic.service(_Details(path))
            if handler is not None:
                service, _, name = path[1:].rpartition("/")
                method = self.methods[path] = self.calls.method(service, name, handler)
                return method
        return None

    def find_or_refuse(self, path: str) -> Method:
        """Returns the method at a path, or one that answers METHOD_UNKNOWN."""
        return self.find(path) or self.calls.unknown(path)
