"""The clock as the audit service saw it, and the leaps that it made meanwhile: in the tables `clock` and `leaps`."""

from __future__ import annotations

from services.audit.custody import EVER
from services.kernel.sql import Transaction

UNSEEN_NS = 3600 * 10**9
"""A clock that moves further than this between two looks has leapt."""


def see(transaction: Transaction, now: int) -> int:
    """Notes the time; returns how much of what has passed by the clock nobody saw pass. Both in nanoseconds."""
    row = transaction.execute("SELECT seen FROM clock").fetchone()
    if row is None:
        newest = transaction.execute("SELECT append_time FROM head").fetchone()[0]
        seen = now if newest == EVER else newest
        transaction.execute("INSERT INTO clock VALUES (1, ?)", (seen,))
    else:
        seen = row[0]
    if now > seen + UNSEEN_NS:
        transaction.execute("INSERT INTO leaps VALUES (?, ?)", (seen, now))
    elif now < seen - UNSEEN_NS:
        # It was put back, so the leap that led there was none.
        transaction.execute("DELETE FROM leaps WHERE end_time > ?", (now,))
    elif now < seen:
        now = seen
    transaction.execute("UPDATE clock SET seen = ?", (now,))
    doubted = transaction.execute("SELECT SUM(end_time - start_time) FROM leaps").fetchone()[0]
    return int(doubted or 0)


def trust(transaction: Transaction, now: int) -> None:
    """Notes the time, and that all the time before it did pass."""
    see(transaction, now)
    transaction.execute("DELETE FROM leaps")
