"""The audit log's store in a SQLite file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from services.audit.adapters import schema
from services.audit.adapters.store import SqlEventStore
from services.audit.vault import Vault
from services.kernel import sqlite


class SqliteEventStore(SqlEventStore):
    """EventStore; opens the file when it is first asked. The writing transaction locks the whole file."""

    def __init__(self, path: Path, vault: Vault, clock: Callable[[], int] = time.time_ns) -> None:
        # What is deleted, a person's key above all, must not stay readable in the file's free pages.
        database = sqlite.Database("audit store", path, schema.SQLITE, ["PRAGMA secure_delete = ON"])
        super().__init__(database, vault, clock=clock)
