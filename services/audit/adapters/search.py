"""How a query for events becomes a statement."""

from __future__ import annotations

from services.audit.events import EventQuery
from services.kernel.paging import Position
from services.kernel.sql import Value


def page_query(
    columns: str, join: str, query: EventQuery, after: Position | None, limit: int
) -> tuple[str, list[Value]]:
    """Returns the statement of a page of `entries`, newest first, and its values."""
    asked: list[tuple[str, Value]] = [
        ("tenant = ?", query.tenant),
        ("caller = ?", query.caller),
        ("subject = ?", query.subject),
        ("request_id = ?", query.request_id),
        ("model = ?", query.model),
        ("label = ?", query.label),
        ("outcome = ?", query.outcome),
        ("reason = ?", query.reason),
        ("create_time >= ?", query.start),
        ("create_time < ?", query.end),
        ("confidence >= ?", query.min_confidence),
        ("confidence < ?", query.max_confidence),
    ]
    held = [(condition, value) for condition, value in asked if value is not None]
    conditions = [f"entries.{condition}" for condition, _ in held]
    values = [value for _, value in held]
    if after is not None:
        conditions.append("(entries.create_time, entries.event_id) < (?, ?)")
        values += after
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = "entries.create_time DESC, entries.event_id DESC"
    return f"SELECT {columns} FROM entries {join}{where} ORDER BY {order} LIMIT ?", [*values, limit]  # noqa: S608
