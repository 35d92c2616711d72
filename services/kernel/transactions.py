"""Transactions off the event loop, whichever the database: a thread with a connection to write, and one to read.

So a long read holds up no write.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

from services.kernel.sql import Transaction

Result = TypeVar("Result")


class _Closable(Protocol):
    def close(self) -> None: ...


Connection = TypeVar("Connection", bound=_Closable)
Handle = TypeVar("Handle", bound=Transaction)
"""What runs in a transaction is given."""


class Worker(ABC, Generic[Connection, Handle]):
    """One thread with one connection, made when it is first needed and again after a fault."""

    def __init__(self, name: str, connect: Callable[[], Connection]) -> None:
        """`name` is what an error calls the database; `connect` is called on the thread."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._name = name
        self._connect = connect
        self._connection: Connection | None = None
        self._closed = False

    async def run(self, begin: str, work: Callable[[Handle], Result]) -> Result:
        """Runs `work` on the thread in a transaction that `begin` begins. Raises StoreUnavailable, Refused."""
        # A cancelled caller leaves the transaction to end by itself: wholly, or not at all.
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, begin, work)

    async def close(self) -> None:
        """Waits for what runs and disconnects. Idempotent."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
            self._thread.shutdown()

    @abstractmethod
    def _transaction(self, begin: str, work: Callable[[Handle], Result]) -> Result:
        """Does it, and undoes all when `work` raises."""

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Transactions(Generic[Handle]):
    """A sql.Database over two workers."""

    def __init__(
        self, writer: Worker[Any, Handle], reader: Worker[Any, Handle], begin_write: str, begin_read: str, probe: str
    ) -> None:
        """`probe` is a statement that gives a row only where the database can be used. Connects to nothing yet."""
        self._writer = writer
        self._reader = reader
        self._begin_write = begin_write
        self._begin_read = begin_read
        self._probe = probe

    async def write(self, work: Callable[[Handle], Result]) -> Result:
        """Runs `work` in a transaction on the writing thread; synced to the disk when it returns.

        Raises:
            StoreUnavailable: the database can't be reached or written; a lost commit may have happened or not.
            Refused: a value can't be stored, whenever it is tried.
        """
        return await self._writer.run(self._begin_write, work)

    async def read(self, work: Callable[[Handle], Result]) -> Result:
        """Runs `work` on the reading thread, over one state of the database.

        Raises:
            StoreUnavailable: the database can't be reached or read.
        """
        return await self._reader.run(self._begin_read, work)

    async def ping(self) -> None:
        """Returns when the database can be written and read. Raises StoreUnavailable when not."""
        await self.write(lambda transaction: transaction.execute(self._probe).fetchone())
        await self.read(lambda transaction: transaction.execute(self._probe).fetchone())

    async def close(self) -> None:
        """Waits for what runs and lets go of the database; nothing may be asked of it afterwards. Idempotent."""
        await self._reader.close()
        await self._writer.close()
