from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.audit.adapters.postgres import PostgresEventStore
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.adapters.store import SqlEventStore
from tests.fixtures.audit import vault
from tests.fixtures.postgres import shared_postgres

__all__ = ["shared_postgres"]

Open = Callable[[], SqlEventStore]


class Clock:
    """Unix nanoseconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1_750_000_000 * 10**9  # June 2025

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Open:
    """Opens the same log each time it is called, as several instances of the service do."""
    if request.param == "sqlite":
        return lambda: SqliteEventStore(tmp_path / "a.sqlite3", vault(), clock)
    url = request.getfixturevalue("shared_postgres").make_database()
    return lambda: PostgresEventStore(url, vault(), clock=clock)


@pytest.fixture
async def store(opened: Open) -> AsyncIterator[SqlEventStore]:
    made = opened()
    yield made
    await made.close()
