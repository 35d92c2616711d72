"""The audit service's settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.audit.adapters import objects
from services.audit.retention import LEAST_DAYS
from services.kernel.eventlog import connections

_MOST_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class Settings:
    """Read once, from variables named ASSAY_ and the field in capitals."""

    event_log: str
    """Where the event log is, redis://host:port/db or kafka://host:port,host:port."""

    data: Path
    """Folder of audit.sqlite3 and checkpoints.log; made when it does not exist."""

    key_file: Path
    """File of the key-encryption key, 32 random bytes; for its owner alone."""

    signing_key_file: Path
    """File of the Ed25519 key that signs checkpoints, "PRIVATE+KEY+name+id+key"; for its owner alone."""

    listen: str = "127.0.0.1:50053"
    metrics_listen: str = ""
    """Where Prometheus reads; empty: nowhere."""

    store: str = ""
    """The PostgreSQL that holds the log, postgresql://user@host:port/database; empty: audit.sqlite3 in `data`."""

    store_password_file: str = ""
    """File of that user's password; empty: libpq looks where it always does."""

    checkpoint_seconds: float = 1.0
    """At most one checkpoint in so many seconds; none while nothing was appended."""

    retention_days: int = LEAST_DAYS
    """How long contents are kept, in days; at least 183."""

    archive: str = ""
    """Where `assay audit archive` moves contents: file:///folder or s3://bucket/prefix?endpoint=...&region=...; empty:
    nowhere. S3's credentials come from the environment (AWS_ACCESS_KEY_ID and so on) or the machine's role.
    """

    consumer: str = "audit-1"
    """This instance's name in the consumer group: the same after a restart, another one for each instance."""

    log_level: str = "info"

    def __post_init__(self) -> None:
        connections.require_known(self.event_log)
        if self.store:
            from services.kernel import postgres  # late: SQLite should not wait for its library

            try:
                postgres.require_valid(self.store)
            except ValueError as fault:
                raise ValueError(f"ASSAY_STORE {fault}") from None
        if not LEAST_DAYS <= self.retention_days <= _MOST_DAYS:
            limit = f"at least {LEAST_DAYS}" if self.retention_days < LEAST_DAYS else f"at most {_MOST_DAYS}"
            raise ValueError(f"ASSAY_RETENTION_DAYS is {self.retention_days}; it must be {limit}")
        if self.archive:
            try:
                objects.require_valid(self.archive)
            except ValueError as fault:
                raise ValueError(f"ASSAY_ARCHIVE {fault}") from None
        if not 0.05 <= self.checkpoint_seconds <= 3600:
            raise ValueError(f"ASSAY_CHECKPOINT_SECONDS is {self.checkpoint_seconds:g}; it must be 0.05 to 3600")
