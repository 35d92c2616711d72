"""The gateway's settings. docs/gateway.md says why each default is what it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.gateway.durability import BROKER, FSYNC, PROCESS
from services.kernel.eventlog import connections

_DURABILITIES = (PROCESS, FSYNC, BROKER)
_HOSTS = ("auto", "envoy", "aio")


@dataclass(frozen=True, slots=True)
class Settings:
    """Read once, from variables named ASSAY_ and the field in capitals."""

    classifier_addresses: tuple[str, ...]
    """host:port of each classifier."""

    event_log: str
    """Where the event log is, redis://host:port/db or kafka://host:port,host:port."""

    data: Path
    """Folder of the outbox and of Envoy's files; made when it does not exist."""

    pseudonym_key_file: Path
    """At least 32 random bytes, readable by the owner alone."""

    tenants_file: Path | None = None
    """What is different for some tenants (tenants.py); none: nothing is."""

    listen: str = "127.0.0.1:8080"
    """The public address: gRPC, gRPC-Web, REST and the docs."""

    host: str = "auto"
    """"envoy" (Python inside Envoy), "aio" (Envoy in front of grpc.aio) or "auto": the first where it can work."""

    audit_address: str = ""
    """Where Envoy sends AuditService; empty: it is not served here. So with the next."""

    review_address: str = ""
    metrics_listen: str = ""
    """Where Prometheus reads; empty: nowhere."""

    admin_listen: str = "127.0.0.1:0"
    """Envoy's own administration page; loopback only."""

    confidence_threshold: float = 0.7
    """An answer below it goes to a person as well; 0 to 1."""

    max_text_bytes: int = 65_536
    max_batch_texts: int = 256
    max_stream_items: int = 64
    """Items of one stream in flight; then the stream is not read on."""

    default_deadline_seconds: float = 10.0
    """Of a call that brings no deadline."""

    longest_deadline_seconds: float = 60.0
    micro_batch_texts: int = 64
    micro_batch_calls: int = 2
    """Calls in flight to each classifier that start as soon as there is a text."""

    micro_batch_slow_calls: int = 6
    """Further ones, which start only at intervals of 2 ms; 0: none."""

    max_waiting_texts: int = 4096
    outbox_max_events: int = 1_000_000
    outbox_max_bytes: int = 1 << 30
    outbox_min_free_bytes: int = 64 << 20
    """Of the outbox's disk; with less the gateway refuses calls."""

    audit_durability: str = PROCESS
    """What a record survives once its answer has left: "process" (kill -9), "fsync" (a power cut) or "broker" (the loss
    of this machine; while the event log is away, a power cut)."""

    broker_timeout_seconds: float = 1.0
    """How long the event log may take to confirm a record before the outbox takes it."""

    log_level: str = "info"

    @property
    def outbox_file(self) -> Path:
        """Where events wait for the event log."""
        return self.data / "outbox.sqlite3"

    def __post_init__(self) -> None:
        connections.require_known(self.event_log)
        if self.host not in _HOSTS:
            raise ValueError(f"ASSAY_HOST is {self.host!r}; it must be one of {', '.join(_HOSTS)}")
        if self.audit_durability not in _DURABILITIES:
            known = ", ".join(_DURABILITIES)
            raise ValueError(f"ASSAY_AUDIT_DURABILITY is {self.audit_durability!r}; it must be one of {known}")
        if self.outbox_min_free_bytes < 0:
            raise ValueError(f"ASSAY_OUTBOX_MIN_FREE_BYTES is {self.outbox_min_free_bytes}; it must be 0 or above")
        if not 0.0 <= self.confidence_threshold <= 1.0:
            raise ValueError(f"ASSAY_CONFIDENCE_THRESHOLD is {self.confidence_threshold}; it must be 0 to 1")
        for name in (
            "max_text_bytes",
            "max_batch_texts",
            "max_stream_items",
            "default_deadline_seconds",
            "longest_deadline_seconds",
            "micro_batch_texts",
            "micro_batch_calls",
            "max_waiting_texts",
            "outbox_max_events",
            "outbox_max_bytes",
            "broker_timeout_seconds",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"ASSAY_{name.upper()} is {getattr(self, name)}; it must be above 0")
        if self.micro_batch_texts > 1024:
            raise ValueError(f"ASSAY_MICRO_BATCH_TEXTS is {self.micro_batch_texts}; a classifier takes at most 1024")
