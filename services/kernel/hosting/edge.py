"""What Envoy is to be at the public port: the values that a service's wiring supplies, and nothing of how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.kernel.hosting.calls import MAX_MESSAGE_BYTES

# Pages that this machine itself serves, whatever their port.
LOOPBACK_ORIGINS = r"^https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$"


@dataclass(frozen=True, slots=True)
class Edge:
    """One public address and what stands behind it. Addresses are "host:port"."""

    listen: str
    """The public address; port 0 takes a free one, which the admin interface tells."""

    folder: Path
    """Where Envoy's files are written: its configuration, descriptors, the access log."""

    descriptors: Path
    """A FileDescriptorSet of every service below, with imports."""

    services: Sequence[str]
    """Full names of the services whose `google.api.http` routes are served as REST, proxied ones included."""

    application: str | None = None
    """"module:attribute" of the ASGI application to run inside Envoy; None when it runs at `upstream`."""

    upstream: str | None = None
    """Address of the same application on grpc.aio; None when it runs inside."""

    proxied: Mapping[str, str] = field(default_factory=dict)
    """Services that live elsewhere: full name to address."""

    static: Mapping[str, Path] = field(default_factory=dict)
    """Files to serve: a URL to a file, or a URL prefix to a folder, whose index.html answers for the prefix itself.

    Envoy reads them when it starts.
    """

    admin_listen: str = "127.0.0.1:0"
    """Where Envoy's admin interface listens: loopback only, it can stop the process."""

    cors_origins: str = LOOPBACK_ORIGINS
    """A regular expression (RE2) of the origins whose pages may call."""

    max_request_bytes: int = MAX_MESSAGE_BYTES
    """What a REST body may hold; gRPC messages have the same limit in the adapter."""

    workers: int = 1
    """Envoy's worker threads. One feeds one Python interpreter; more help where TLS or proxying weigh."""

    def inside(self, application: str) -> Edge:
        """Returns this edge with "module:attribute" running inside Envoy."""
        return replace(self, application=application, upstream=None)

    def before(self, upstream: str) -> Edge:
        """Returns this edge with Envoy in front of the application at an address."""
        return replace(self, application=None, upstream=upstream)

    @property
    def access_log(self) -> Path:
        """Where calls that Envoy answered alone are logged (see access_log.py)."""
        return self.folder / "edge.jsonl"

    @property
    def admin_address_file(self) -> Path:
        """Holds the admin interface's address once Envoy runs."""
        return self.folder / "admin.address"
