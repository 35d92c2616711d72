"""SQLite for a service's store: durable transactions off the event loop, one table layout that keeps each key once.

Write-ahead log with synchronous=FULL: what is committed is synced, and survives kill -9 and power loss.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from services.kernel.stores import Refused, Stored, StoreUnavailable
from services.kernel.transactions import Result, Transactions, Worker

Value = str | int | float | bytes
Migration = Sequence[str]
"""Statements that lead from one version of the schema to the next."""

_BUSY_SECONDS = 5.0


class _Worker(Worker[sqlite3.Connection, sqlite3.Connection]):
    def _transaction(self, begin: str, work: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            if self._connection is None:
                self._connection = self._connect()
            connection = self._connection
            connection.execute(begin)
            try:
                result = work(connection)
                connection.execute("COMMIT")
                return result
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeError) as fault:
            raise Refused(f"the store can't hold it: {type(fault).__name__}") from fault
        except sqlite3.ProgrammingError:
            raise  # a fault of ours, not of the file
        except (sqlite3.DatabaseError, OSError) as fault:
            # Full, locked for long, unreadable, gone: a new connection is the only way to a file that was put right.
            self._disconnect()
            raise StoreUnavailable(self._name) from fault


class Database(Transactions[sqlite3.Connection]):
    """One SQLite file with its schema."""

    def __init__(self, name: str, path: Path, migrations: Sequence[Migration], pragmas: Sequence[str] = ()) -> None:
        """`name` is what an error calls it, "audit store". Opens nothing yet.

        `migrations` lead from an empty file to the schema of today; what a file had already is not run again.
        `pragmas` are statements that each connection begins with.
        """
        self._pragmas = pragmas
        self._path = path
        self._migrations = migrations
        super().__init__(
            _Worker(name, self._connect),
            _Worker(name, self._connect),
            begin_write="BEGIN IMMEDIATE",
            begin_read="BEGIN",
            probe="SELECT COUNT(*) FROM sqlite_schema",
        )

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        # Transactions are ours alone: with isolation_level=None the module begins none by itself.
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            for pragma in self._pragmas:
                connection.execute(pragma)
            connection.execute("BEGIN IMMEDIATE")
            self._migrate(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()  # rolls back
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(self._migrations):
            raise sqlite3.DatabaseError(f"the schema is version {version}, which is newer than this program")
        for migration in self._migrations[version:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(self._migrations)}")


def put_once(connection: sqlite3.Connection, table: str, key: str, content: str, row: Mapping[str, Value]) -> Stored:
    """Inserts a row unless its key is there; then `content`, a column, tells a repeat from a conflict.

    Names of tables and columns are the program's own, never a caller's.
    """
    # Not INSERT OR IGNORE, which would also drop a row that breaks another rule of the table without a word.
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    insert = f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT ({key}) DO NOTHING"  # noqa: S608
    if connection.execute(insert, tuple(row.values())).rowcount:
        return Stored.NEW
    find = f"SELECT {content} FROM {table} WHERE {key} = ?"  # noqa: S608
    (held,) = connection.execute(find, (row[key],)).fetchone()
    return Stored.REPEAT if held == row[content] else Stored.CONFLICT


def newest_first(
    table: str,
    columns: Sequence[str],
    order: Sequence[str],
    conditions: Sequence[tuple[str, Value | None]],
    after: Sequence[Value] | None,
    limit: int,
) -> tuple[str, list[Value]]:
    """Returns the query of a page, and its parameters, for a table whose `order` columns are unique together.

    Conditions are pairs such as ("caller = ?", "a"); those whose value is None are left out. `after` is what the
    order's columns hold in the last row of the page before. Names are the program's own, never a caller's.
    """
    held = [(condition, value) for condition, value in conditions if value is not None]
    clauses = [condition for condition, _ in held]
    values = [value for _, value in held]
    if after is not None:
        clauses.append(f"({', '.join(order)}) < ({', '.join('?' * len(order))})")
        values += after
    where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
    falling = ", ".join(f"{column} DESC" for column in order)
    query = f"SELECT {', '.join(columns)} FROM {table}{where} ORDER BY {falling} LIMIT ?"  # noqa: S608
    return query, [*values, limit]
