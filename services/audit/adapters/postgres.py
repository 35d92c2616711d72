"""The audit log's store in PostgreSQL, with a partition of entries for each month."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from services.audit.adapters import schema
from services.audit.adapters.store import SqlEventStore
from services.audit.months import Month
from services.audit.vault import Vault
from services.kernel import postgres
from services.kernel.sql import Transaction


class PostgresEventStore(SqlEventStore):
    """EventStore; connects when it is first asked. Whoever appends holds the head's row until the commit."""

    def __init__(
        self,
        url: str,
        vault: Vault,
        password_file: Path | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._made: set[Month] = set()
        database = postgres.Database("audit store", url, schema.POSTGRES, password_file)
        super().__init__(database, vault, locking=" FOR UPDATE", prepare=self._make_partitions, clock=clock)

    def _make_partitions(self, transaction: Transaction, append_time: int) -> None:
        """Makes the partition of a time's month, and that of the next one before it is needed."""
        month = Month.of(append_time)
        for wanted in (month, month.next):
            if wanted in self._made:
                continue
            name = partition(wanted)
            if transaction.execute("SELECT to_regclass(?)", (name,)).fetchone()[0] is None:
                transaction.execute(
                    f"CREATE TABLE {name} PARTITION OF entries FOR VALUES FROM ({wanted.start}) TO ({wanted.end})"
                )
            else:
                self._made.add(wanted)  # seen, not just made: what is made now may still be undone


def partition(month: Month) -> str:
    """Returns the name of the table that holds a month's entries."""
    return f"entries_{month.year:04}_{month.month:02}"
