"""The monthly partitions of the audit log in PostgreSQL, once what is in them was removed."""

from __future__ import annotations

from collections.abc import Collection

from services.audit.adapters.postgres import partition
from services.audit.months import Month
from services.kernel.sql import Transaction


def shrink(transaction: Transaction, horizon: int, touched: Collection[Month]) -> None:
    """Drops the partitions of whole months before a time that are empty, and writes those anew that were touched.

    A deleted row stays on the disk until the server gets to it; what is dropped or written anew is gone at the commit,
    unless a transaction still runs that began before the row was deleted.
    """
    names = transaction.execute(
        "SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid"
        " WHERE inhparent = to_regclass('entries')"
    ).fetchall()
    for (name,) in names:
        month = _month(name)
        if month is None or month.end > horizon:
            continue
        if transaction.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() is None:  # noqa: S608
            transaction.execute(f"DROP TABLE {name}")
        elif month in touched:
            # What is left is little: actions, and what is on hold. CLUSTER, unlike TRUNCATE, hides no row from a reader
            # that began before, and unlike VACUUM runs in a transaction.
            transaction.execute(f"CLUSTER {name} USING {name}_pkey")


def _month(name: str) -> Month | None:
    """Returns the month of a partition; None for a table of that kind that an operator made."""
    try:
        _, year, month = name.split("_")
        found = Month(int(year), int(month))
    except ValueError:
        return None
    return found if name == partition(found) else None
