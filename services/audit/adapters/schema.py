"""The tables of the audit log, for SQLite and PostgreSQL. Times are Unix nanoseconds.

An entry's index is its leaf in the tree. What is here beside `record` and `tiles` is derived from them, for search, or
is needed to take the next entry. An entry whose contents were removed has no row: its leaf hash stays in `tiles` and
its range in `removed`.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.kernel.sqlite import Migration

SEARCHED = ("tenant", "caller", "subject", "request_id", "model", "label", "outcome", "reason")
"""The columns of `entries` that a query compares with; each has an index that gives its entries by time."""

_ENTRY_INDEXES = (
    "CREATE INDEX entries_by_time ON entries (create_time, event_id)",
    *(f"CREATE INDEX entries_by_{name} ON entries ({name}, create_time, event_id)" for name in SEARCHED),
    "CREATE INDEX entries_by_append_time ON entries (append_time)",
    "CREATE INDEX entries_by_key ON entries (key_id)",
)


_EVER = -(2**63)


def _tables(partitioned: bool) -> Iterator[str]:
    blob = "BYTEA" if partitioned else "BLOB"
    number = "BIGINT" if partitioned else "INTEGER"
    real = "DOUBLE PRECISION" if partitioned else "REAL"
    # Bytewise, as SQLite and Python compare, so that the order of a page does not hang on a server's language.
    text = 'TEXT COLLATE "C"' if partitioned else "TEXT"
    index = "BIGINT NOT NULL" if partitioned else "INTEGER PRIMARY KEY"
    yield f"""CREATE TABLE entries (
        idx {index},
        append_time {number} NOT NULL,
        event_id {text} NOT NULL,
        create_time {number} NOT NULL,
        tenant {text} NOT NULL,
        caller {text} NOT NULL,
        subject {text} NOT NULL,
        request_id {text} NOT NULL,
        model {text} NOT NULL,
        label {text} NOT NULL,
        outcome {text} NOT NULL,
        reason {text} NOT NULL,
        confidence {real},
        key_id {text} NOT NULL,
        record {blob} NOT NULL
        {", PRIMARY KEY (idx, append_time)" if partitioned else ""}
    ) {"PARTITION BY RANGE (append_time)" if partitioned else ""}"""
    yield from _ENTRY_INDEXES
    # Apart, because a partitioned table can't hold event_id unique by itself.
    yield f"""CREATE TABLE event_ids (
        event_id {text} PRIMARY KEY,
        idx {number} NOT NULL,
        append_time {number} NOT NULL,
        digest {blob} NOT NULL
    ) {"" if partitioned else "WITHOUT ROWID"}"""
    yield "CREATE INDEX event_ids_by_append_time ON event_ids (append_time)"
    yield f"""CREATE TABLE person_keys (
        key_id {text} PRIMARY KEY,
        tenant {text} NOT NULL,
        person {blob} NOT NULL UNIQUE,
        wrapped {blob} NOT NULL,
        create_time {number} NOT NULL
    )"""
    yield f"""CREATE TABLE tiles (
        level {number} NOT NULL,
        number {number} NOT NULL,
        hashes {blob} NOT NULL,
        PRIMARY KEY (level, number)
    )"""
    yield f"""CREATE TABLE removed (
        start_idx {number} PRIMARY KEY,
        end_idx {number} NOT NULL,
        state {number} NOT NULL
    )"""
    yield f"CREATE TABLE checkpoints (size {number} PRIMARY KEY, note {text} NOT NULL, create_time {number} NOT NULL)"
    # One row, which whoever appends holds. Events older than `horizon` that are not known are not taken any more;
    # `vault` tells whether the key file is the one that the log was begun with.
    yield f"""CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        size {number} NOT NULL,
        append_time {number} NOT NULL,
        horizon {number} NOT NULL,
        vault {blob}
    )"""
    yield f"INSERT INTO head VALUES (1, 0, {_EVER}, {_EVER}, NULL)"  # noqa: S608


def _custody(partitioned: bool) -> Iterator[str]:
    number = "BIGINT" if partitioned else "INTEGER"
    text = 'TEXT COLLATE "C"' if partitioned else "TEXT"
    yield f"""CREATE TABLE holds (
        hold_id {text} PRIMARY KEY,
        tenant {text} NOT NULL,
        caller {text} NOT NULL,
        start_time {number} NOT NULL,
        end_time {number} NOT NULL,
        note {text} NOT NULL,
        create_time {number} NOT NULL
    )"""
    yield "CREATE INDEX holds_by_tenant ON holds (tenant)"
    # Keys that something in the archive is sealed with.
    yield f"CREATE TABLE archived_keys (key_id {text} PRIMARY KEY)"
    # When the service last looked at the clock, and the leaps that the clock made while it did not look.
    yield f"CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), seen {number} NOT NULL)"
    yield f"CREATE TABLE leaps (start_time {number} NOT NULL, end_time {number} NOT NULL)"


SQLITE: tuple[Migration, ...] = (tuple(_tables(partitioned=False)), tuple(_custody(partitioned=False)))
POSTGRES: tuple[Migration, ...] = (tuple(_tables(partitioned=True)), tuple(_custody(partitioned=True)))
"""Partitions of `entries`, one for each month of append_time, are made when they are needed."""
