"""The audit log's store in a SQLite file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from services.audit.adapters import schema
from services.audit.adapters.store import SqlEventStore
from services.audit.vault import Vault
from services.kernel import sqlite

_PRAGMAS = (
    # What is deleted, a person's key above all, must not stay readable in the file's free pages.
    "PRAGMA secure_delete = ON",
    # Each entry goes into a dozen indexes. With room to gather changes (64 MiB, and 32 MiB of log before it is worked
    # in) appends stay several times as fast in a large log.
    "PRAGMA cache_size = -65536",
    "PRAGMA wal_autocheckpoint = 8000",
)


class SqliteEventStore(SqlEventStore):
    """EventStore; opens the file when it is first asked. The writing transaction locks the whole file."""

    def __init__(self, path: Path, vault: Vault, clock: Callable[[], int] = time.time_ns) -> None:
        database = sqlite.Database("audit store", path, schema.SQLITE, _PRAGMAS)
        super().__init__(database, vault, clock=clock)
