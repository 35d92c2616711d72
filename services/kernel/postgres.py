"""PostgreSQL for a service's store: durable transactions off the event loop, a schema that brings itself up to date.

A connection that broke is replaced when it is next needed, so a server that was away is found again by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import psycopg
from psycopg.conninfo import conninfo_to_dict

from services.kernel.sql import Rows, Transaction, Value
from services.kernel.stores import Refused, StoreUnavailable
from services.kernel.transactions import Result, Transactions, Worker

Migration = Sequence[str]
"""Statements that lead from one version of the schema to the next."""

FORM = "postgresql://user@host:port/database"

_DEFAULTS = {
    "application_name": "assay",
    "connect_timeout": "5",
    # A server that vanished without a word is noticed after 25 s.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "target_session_attrs": "read-write",
}
_SESSION = (
    # What a server or a role has set otherwise must not weaken what a commit promises.
    "SET synchronous_commit = on",
    "SET statement_timeout = '120s'",
    "SET lock_timeout = '15s'",
    "SET idle_in_transaction_session_timeout = '60s'",
)


def require_valid(url: str) -> None:
    """Raises ValueError unless the URL names a PostgreSQL database and holds no password; it quotes nothing of it."""
    if url.partition("://")[0] not in ("postgresql", "postgres"):
        raise ValueError(f"is no PostgreSQL URL; it must be {FORM}")
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        raise ValueError(f"can't be read; it must be {FORM}") from None
    if parts.get("password"):
        raise ValueError("holds a password; put it into a file of its own, because others can see a URL")


class Database(Transactions[Transaction]):
    """One PostgreSQL database, or the part of one that this schema's tables are."""

    def __init__(self, name: str, url: str, migrations: Sequence[Migration], password_file: Path | None = None) -> None:
        """`name` is what an error calls it, "audit store". Connects to nothing yet.

        `migrations` lead from nothing to the schema of today; what was run already is not run again. The password file
        is read anew for each connection; without one libpq looks where it always does (PGPASSFILE, PGPASSWORD).
        """
        self._name = name
        self._url = url
        self._migrations = migrations
        self._password_file = password_file
        super().__init__(
            _Worker(name, self._connect),
            _Worker(name, self._connect),
            begin_write="BEGIN ISOLATION LEVEL READ COMMITTED",
            begin_read="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            probe="SELECT 1",
        )

    def _connect(self) -> psycopg.Connection[Any]:
        settings: dict[str, Any] = {**_DEFAULTS, **conninfo_to_dict(self._url)}
        if self._password_file is not None:
            settings["password"] = self._password_file.read_text().strip()
        connection = psycopg.connect(**settings, autocommit=True)
        try:
            for statement in _SESSION:
                connection.execute(statement)
            with connection.transaction():
                self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: psycopg.Connection[Any]) -> None:
        # One at a time, whoever starts first; the lock goes with the transaction.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (crc32(f"assay {self._name}".encode()),))
        connection.execute("CREATE TABLE IF NOT EXISTS schema_versions (store TEXT PRIMARY KEY, version INT NOT NULL)")
        row = connection.execute("SELECT version FROM schema_versions WHERE store = %s", (self._name,)).fetchone()
        version = row[0] if row else 0
        if version > len(self._migrations):
            raise psycopg.OperationalError(f"the schema is version {version}, which is newer than this program")
        for migration in self._migrations[version:]:
            for statement in migration:
                connection.execute(statement.encode())
        connection.execute(
            "INSERT INTO schema_versions VALUES (%s, %s) ON CONFLICT (store) DO UPDATE SET version = excluded.version",
            (self._name, len(self._migrations)),
        )


class _Statements:
    """A Transaction over a connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Value] = (), /) -> Rows:
        return self._connection.execute(_translated(statement), values or None)

    def executemany(self, statement: str, rows: Sequence[Sequence[Value]], /) -> Rows:
        cursor = self._connection.cursor()
        cursor.executemany(_translated(statement), rows)
        return cursor


@lru_cache(maxsize=1000)
def _translated(statement: str) -> bytes:
    """Returns a statement with the placeholders of psycopg; none of ours holds a question mark or a percent sign."""
    return statement.replace("?", "%s").encode()


class _Worker(Worker[psycopg.Connection[Any], Transaction]):
    def _transaction(self, begin: str, work: Callable[[Transaction], Result]) -> Result:
        try:
            connection = self._begun(begin)
            try:
                result = work(_Statements(connection))
                connection.execute("COMMIT")
                return result
            except BaseException:
                if not connection.closed:
                    connection.execute("ROLLBACK")
                raise
        except (psycopg.IntegrityError, psycopg.DataError, UnicodeError) as fault:
            raise Refused(f"the store can't hold it: {type(fault).__name__}") from fault
        except psycopg.ProgrammingError:
            raise  # a fault of ours, not of the server
        except (psycopg.Error, OSError) as fault:
            # Gone, full, read-only, too slow, locked for long: a new connection is the only way that is always one.
            self._disconnect()
            raise StoreUnavailable(self._name) from fault

    def _begun(self, begin: str) -> psycopg.Connection[Any]:
        if self._connection is not None:
            try:
                self._connection.execute(begin.encode())
            except psycopg.OperationalError:
                self._disconnect()  # it broke while nobody used it; nothing was lost with it
            else:
                return self._connection
        self._connection = self._connect()
        self._connection.execute(begin.encode())
        return self._connection
