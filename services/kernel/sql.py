"""What a store needs of a SQL database, whichever: transactions on a thread, and statements with ? where values go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

Value = str | int | float | bytes | None
Result = TypeVar("Result")


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """How many rows an INSERT, UPDATE or DELETE touched."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Transaction(Protocol):
    """A transaction that runs. Statements are the program's own, values come from anywhere."""

    def execute(self, statement: str, values: Sequence[Value] = (), /) -> Rows: ...

    def executemany(self, statement: str, rows: Sequence[Sequence[Value]], /) -> Rows: ...


class Database(Protocol):
    """A database with its schema, which it brings up to date when it is first asked."""

    async def write(self, work: Callable[[Transaction], Result]) -> Result:
        """Runs `work` in a transaction; durable when it returns, undone when it raises.

        Raises:
            StoreUnavailable: the database can't be reached or written.
            Refused: a value can't be stored, whenever it is tried.
        """

    async def read(self, work: Callable[[Transaction], Result]) -> Result:
        """Runs `work` over one state of the database.

        Raises:
            StoreUnavailable: the database can't be reached or read.
        """

    async def ping(self) -> None:
        """Returns when the database can be written and read. Raises StoreUnavailable when not."""

    async def close(self) -> None:
        """Waits for what runs and lets go of the database; nothing may be asked of it afterwards. Idempotent."""


def marks(count: int) -> str:
    """Returns the places of so many values: "?, ?, ?"."""
    return ", ".join("?" * count)
