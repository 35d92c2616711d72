"""The outbox in a SQLite file (write-ahead log, synchronous=NORMAL).

A commit is a write into the page cache: it is there after the process is killed, and the file stays sound after a power
cut, though the last commits may be missing then. It takes microseconds, so it is done on the event loop's thread.

What waits for the disk is done from other threads: the checkpoint on a connection of its own, and `sync`, which has the
kernel put the write-ahead log on the disk. SQLite does the same for a commit with synchronous=FULL, but under the write
lock; here commits go on meanwhile, and the next sync takes them all.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, suppress
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
_COUNT = "SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0) FROM outbox"
_CHECKPOINT_BYTES = 8 << 20
_LAST_FRAMES = 512
_VACUUM_PAGES = 2048
_PROBE = "probe"
_MADE = b"made\n"  # what the lock file says once there is an outbox


class SqliteOutbox:
    """Outbox in one file, which one process may hold."""

    def __init__(
        self, path: Path, *, max_events: int = 1_000_000, max_bytes: int = 1 << 30, min_free_bytes: int = 0
    ) -> None:
        """Opens the file, or makes it.

        `max_events` and `max_bytes` (of payloads) bound what it may hold; `min_free_bytes` of its disk are left free.

        Raises:
            OutboxUnavailable: another process holds it, it can't be opened, it is damaged, or it is gone or empty
                though there was one. Events may be in it that nobody else has, so nothing is begun anew by itself.
        """
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._path = path
        self._lock = _lock(path.with_name(path.name + ".lock"))
        with ExitStack() as undoing:
            undoing.callback(self._lock.close)
            _refuse_a_loss(path, self._lock)
            try:
                self._connection = self._connect()
                undoing.callback(self._connection.close)
                _set_up(self._connection)
                row = self._connection.execute(_COUNT).fetchone()
                self._log = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
                _remember(path, self._lock)
            except (sqlite3.OperationalError, OSError) as error:
                raise OutboxUnavailable(f"{path.name}: {error}") from error
            except sqlite3.DatabaseError as error:
                raise OutboxUnavailable(_damaged(path, str(error))) from error
            undoing.pop_all()
        self._sound = True  # whether the last commit could be written
        self._synced = True  # whether no sync has failed
        self._free_bytes = self._free()
        self._last_head = (0, 0, 0)  # last position, events and bytes of what `head` gave last
        self._depth: int = row[0]
        self._bytes: int = row[1]

    @property
    def depth(self) -> int:
        return self._depth

    @property
    def size(self) -> int:
        return self._bytes

    @property
    def full(self) -> bool:
        return (
            self._depth >= self._max_events
            or self._bytes >= self._max_bytes
            or self._free_bytes < self._min_free_bytes
            or not self._synced
        )

    @property
    def refusing(self) -> bool:
        return not self._sound or self.full

    def append(self, entries: Sequence[Entry], bookmark: Bookmark | None = None) -> None:
        if entries and self.full:
            raise OutboxUnavailable(self._fullness())
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

    def sync(self) -> None:
        try:
            os.fdatasync(self._log)
        except OSError as error:
            # The kernel may have dropped what it could not write, and would not say so a second time. Later commits
            # stand behind it in the log, so none may be taken any more.
            self._synced = False
            raise OutboxUnavailable(f"the disk could not be synced: {error.strerror}") from error

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
        self._free_bytes = self._free()
        if self.full:
            raise OutboxUnavailable(self._fullness())
        if not self._sound:
            self.append([], Bookmark(_PROBE, 0, 0))

    async def tend(self) -> None:
        with suppress(OutboxUnavailable):
            self.check()
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
        if self._log >= 0:
            os.close(self._log)
            self._log = -1
        self._connection.close()
        self._lock.close()

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

    def _free(self) -> int:
        """Returns how many bytes of its disk others than the administrator may still fill."""
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    def _fullness(self) -> str:
        if not self._synced:
            return "its disk could not be synced"
        if self._free_bytes < self._min_free_bytes:
            return f"its disk has {self._free_bytes} bytes free; {self._min_free_bytes} must stay"
        return (
            f"it holds {self._depth} events, {self._bytes} bytes; {self._max_events} and {self._max_bytes} are the most"
        )

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # The disk is gone. The next BEGIN says so again.
            return


def _set_up(connection: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError where the file is no sound outbox."""
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute(f"PRAGMA journal_size_limit={_CHECKPOINT_BYTES // 2}")
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)
    connection.executescript(_SCHEMA)


def _damaged(path: Path, fault: str) -> str:
    return (
        f"{path.name} is damaged ({' '.join(fault.split())}) and may hold events that are nowhere else; "
        f"put a sound one in its place, or save what can be read with sqlite3's .recover and then remove "
        f"{path.name}* to begin anew"
    )


def _refuse_a_loss(path: Path, lock: IO[bytes]) -> None:
    """Raises OutboxUnavailable where there was an outbox once and now is none: SQLite would begin a new one."""
    if os.fstat(lock.fileno()).st_size and not (path.exists() and path.stat().st_size):
        raise OutboxUnavailable(
            f"it is gone or empty, though there was one; put it back, or remove {path.name}.lock to begin anew"
        )


def _remember(path: Path, lock: IO[bytes]) -> None:
    """Notes on the disk that there is an outbox, and makes sure that its files have their names there."""
    if not os.fstat(lock.fileno()).st_size:
        lock.write(_MADE)
        lock.flush()
        os.fsync(lock.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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
