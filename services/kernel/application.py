"""What a service hands to a host: the one thing that a wiring builds and that both hosts run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from services.kernel.errors import AssayError

# Registers one servicer; for example functools.partial(add_AIServiceServicer_to_server, servicer). The server is a
# grpc.aio.Server, or the Envoy host's registry, which takes the same calls.
Register = Callable[[Any], None]

# Returns when the dependency works and raises when it does not; bounded in time by the caller.
Check = Callable[[], Awaitable[None]]

# A loop that runs as long as the service does. Cancelled at the end; if it returns or raises before, the process ends
# with a failure, for its supervisor to start it again.
Task = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that the host refused before a servicer saw it, for its message, its method, its size or its deadline."""

    method: str
    """As the caller named it: "/assay.ai.v1.AIService/ClassifyText"."""

    metadata: Sequence[tuple[str, str | bytes]]
    """What the caller sent along, keys in lower case."""

    error: AssayError
    """What the caller is told."""

    message_bytes: int = 0
    """Length of the message, where there was one."""


# Told of each refusal, and awaited, before its status leaves; an AssayError that it raises leaves instead.
Refused = Callable[[Refusal], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Application:
    """A service, built and ready to be hosted."""

    name: str
    """The part's name in health, metrics, traces and logs: "gateway", "classifier"."""

    registrations: Sequence[Register]
    """One for each servicer."""

    service_names: Sequence[str]
    """Full protobuf names of the services, for health and reflection."""

    checks: Mapping[str, Check] = field(default_factory=dict)
    """What the service depends on. grpc.health.v1 answers for the whole ("") and for each of these by name."""

    soft_checks: Mapping[str, Check] = field(default_factory=dict)
    """Dependencies that health names like the others, but without which the whole still serves."""

    tasks: Mapping[str, Task] = field(default_factory=dict)
    """Background loops by name."""

    proxied_names: Sequence[str] = ()
    """Full names of services that are reached through this one's address but live elsewhere; reflection lists them."""

    refused: Refused | None = None
    """Hears of calls that no servicer saw, so that they can be recorded like the others."""


# Builds a service in the running event loop and closes it, in reverse order, at the end.
Build = Callable[[], AbstractAsyncContextManager[Application]]
