"""The outbox in a SQLite file (write-ahead log, synchronous=NORMAL).

A commit is a write into the page cache: it is there after the process is killed, and the file stays sound after a power
cut, though the last commits may be missing then. It takes microseconds, so it is done on the event loop's thread. What
syncs the disk, the checkpoint, is done from another thread on a connection of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from services.gateway.ports import Bookmark, Entry, OutboxUnavailable, Stored
from services.kernel.eventlog.port import Event

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    position INTEGER PRIMARY KEY, topic TEXT NOT NULL, key TEXT NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS bookmark (name TEXT PRIMARY KEY, file INTEGER NOT NULL, offset INTEGER NOT NULL);
"""
_INSERT = "INSERT INTO outbox (topic, key, payload) VALUES (?, ?, ?)"
_CHECKPOINT_BYTES = 8 << 20
_LAST_FRAMES = 512
_VACUUM_PAGES = 2048
_PROBE = "probe"


class SqliteOutbox:
    """Outbox in one file, which one process may hold."""

    def __init__(self, path: Path, *, max_events: int = 1_000_000, max_bytes: int = 1 << 30) -> None:
        """Opens the file, or makes it. `max_events` and `max_bytes` (of payloads) bound what it may hold.

        Raises:
            OutboxUnavailable: another process holds it, or it can't be opened or is damaged.
        """
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._path = path
        self._lock = _lock(path.with_name(path.name + ".lock"))
        try:
            self._connection = self._open()
            row = self._connection.execute("SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0) FROM outbox").fetchone()
        except sqlite3.Error as error:
            self._lock.close()
            raise OutboxUnavailable(f"{path.name}: {error}") from error
        self._sound = True
        self._last_head = (0, 0, 0)  # last position, events and bytes of what `head` gave last
        self._depth: int = row[0]
        self._bytes: int = row[1]

    @property
    def depth(self) -> int:
        return self._depth

    @property
    def full(self) -> bool:
        return self._depth >= self._max_events or self._bytes >= self._max_bytes

    def append(self, entries: Sequence[Entry], bookmark: Bookmark | None = None) -> None:
        if entries and self.full:
            raise OutboxUnavailable(f"it holds {self._depth} events, {self._bytes} bytes")
        rows = [(entry.topic, entry.event.key, entry.event.payload) for entry in entries]
        connection = self._connection
        try:
            if len(rows) == 1 and bookmark is None:
                connection.execute(_INSERT, rows[0])
            else:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_INSERT, rows)
                if bookmark is not None:
                    connection.execute(
                        "INSERT OR REPLACE INTO bookmark (name, file, offset) VALUES (?, ?, ?)",
                        (bookmark.name, bookmark.file, bookmark.offset),
                    )
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._sound = False
            self._roll_back()
            raise OutboxUnavailable(str(error)) from error
        self._sound = True
        self._depth += len(rows)
        self._bytes += sum(len(row[2]) for row in rows)

    def head(self, limit: int) -> list[Stored]:
        query = "SELECT position, topic, key, payload FROM outbox ORDER BY position LIMIT ?"
        try:
            rows = self._connection.execute(query, (limit,)).fetchall()
        except sqlite3.Error as error:
            raise OutboxUnavailable(str(error)) from error
        if rows:
            self._last_head = (rows[-1][0], len(rows), sum(len(row[3]) for row in rows))
        return [Stored(position, Entry(topic, Event(key, payload))) for position, topic, key, payload in rows]

    def discard(self, through: int) -> None:
        try:
            events, size = self._counted(through)
            self._connection.execute("DELETE FROM outbox WHERE position <= ?", (through,))
        except sqlite3.Error as error:
            self._roll_back()
            raise OutboxUnavailable(str(error)) from error
        self._last_head = (0, 0, 0)
        self._depth -= events
        self._bytes -= size

    def bookmark(self, name: str) -> Bookmark | None:
        try:
            row = self._connection.execute("SELECT file, offset FROM bookmark WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error as error:
            raise OutboxUnavailable(str(error)) from error
        return Bookmark(name, row[0], row[1]) if row else None

    def check(self) -> None:
        if self.full:
            raise OutboxUnavailable("it is full")
        if not self._sound:
            self.append([], Bookmark(_PROBE, 0, 0))

    async def tend(self) -> None:
        try:
            if os.stat(f"{self._path}-wal").st_size >= _CHECKPOINT_BYTES:
                left = await asyncio.to_thread(self._checkpoint_aside)
                if 0 <= left <= _LAST_FRAMES:
                    # The write-ahead log starts over only when no frame is left, so the few that came meanwhile are
                    # done here, between two commits: milliseconds, once in thousands of commits.
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if self._depth == 0 and self._connection.execute("PRAGMA freelist_count").fetchone()[0] > _VACUUM_PAGES:
                # A step of this statement frees one page and has no columns, which `execute` takes for the end.
                self._connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        except (sqlite3.Error, OSError):
            # Nothing is lost by a checkpoint that did not happen; if the disk is broken, `append` says so.
            return

    def close(self) -> None:
        self._connection.close()
        self._lock.close()

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={_CHECKPOINT_BYTES // 2}")
        connection.executescript(_SCHEMA)
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=1.0)
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def _checkpoint_aside(self) -> int:
        """Copies the write-ahead log into the file; returns how many frames are left, -1 if it could not."""
        connection = self._connect()
        try:
            left = -1
            for _ in range(4):
                busy, frames, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                left = -1 if busy else frames - copied
                if 0 <= left <= _LAST_FRAMES:
                    break
            return left
        finally:
            connection.close()

    def _counted(self, through: int) -> tuple[int, int]:
        """Returns number and bytes of the events up to a position."""
        position, events, size = self._last_head
        if position == through:
            return events, size
        row: tuple[int, int] = self._connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0) FROM outbox WHERE position <= ?", (through,)
        ).fetchone()
        return row

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # The disk is gone. The next BEGIN says so again.
            return


def _lock(path: Path) -> IO[bytes]:
    """Holds the file for this process; the kernel lets go of it however the process ends."""
    try:
        file = path.open("ab")
    except OSError as error:
        raise OutboxUnavailable(f"{path.name}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise OutboxUnavailable(f"another process holds {path.name}") from None
    return file
