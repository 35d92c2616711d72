"""The review service's settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.kernel.eventlog import connections


@dataclass(frozen=True, slots=True)
class Settings:
    """Read once, from variables named ASSAY_ and the field in capitals."""

    event_log: str
    """Where the event log is, redis://host:port/db or kafka://host:port,host:port."""

    data: Path
    """Folder of review.sqlite3; made when it does not exist."""

    listen: str = "127.0.0.1:50054"
    metrics_listen: str = ""
    """Where Prometheus reads; empty: nowhere."""

    consumer: str = "review-1"
    """This instance's name in the consumer group: the same after a restart, another one for each instance."""

    log_level: str = "info"

    def __post_init__(self) -> None:
        connections.require_known(self.event_log)
