"""What every SQL database promises a store, run on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from services.kernel import postgres, sqlite
from services.kernel.sql import Database, Transaction, marks
from services.kernel.stores import Refused, StoreUnavailable

THINGS = ("CREATE TABLE things (id TEXT PRIMARY KEY, size INTEGER NOT NULL CHECK (size >= 0), body TEXT)",)
MORE = ("ALTER TABLE things ADD COLUMN more TEXT", "INSERT INTO things VALUES ('made', 0, NULL, 'by a migration')")
INSERT = "INSERT INTO things (id, size, body) VALUES (?, ?, ?)"

Open = Callable[[Sequence[sqlite.Migration]], Database]


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same database each time it is called, with the migrations that are given."""
    if request.param == "sqlite":
        return lambda migrations: sqlite.Database("test store", tmp_path / "a.sqlite3", migrations)
    url = request.getfixturevalue("shared_postgres").make_database()
    return lambda migrations: postgres.Database("test store", url, migrations)


@pytest.fixture
async def database(opened: Open) -> AsyncIterator[Database]:
    made = opened([THINGS])
    yield made
    await made.close()


def insert(*ids: str, size: int = 1) -> Callable[[Transaction], None]:
    return lambda transaction: transaction.executemany(INSERT, [(key, size, None) for key in ids]) and None


def ids(transaction: Transaction) -> list[str]:
    return [row[0] for row in transaction.execute("SELECT id FROM things ORDER BY id")]


async def test_what_is_committed_is_read_and_survives(opened: Open) -> None:
    database = opened([THINGS])
    assert await database.read(ids) == []
    await database.write(insert("a", "b"))
    assert await database.read(ids) == ["a", "b"]
    await database.ping()
    await database.close()
    await database.close()
    database = opened([THINGS])
    assert await database.read(ids) == ["a", "b"]
    await database.close()


async def test_rows_are_counted_and_come_one_by_one_or_all(database: Database) -> None:
    await database.write(insert("a", "b", "c"))

    def work(transaction: Transaction) -> tuple[int, object, list[object], object]:
        touched = transaction.execute("UPDATE things SET size = ? WHERE id > ?", (5, "a")).rowcount
        rows = transaction.execute("SELECT id, size FROM things ORDER BY id")
        first = tuple(rows.fetchone())
        rest = [tuple(row) for row in rows.fetchall()]
        none = transaction.execute("SELECT id FROM things WHERE id = ?", ("z",)).fetchone()
        return touched, first, rest, none

    assert await database.write(work) == (2, ("a", 1), [("b", 5), ("c", 5)], None)


async def test_nothing_to_execute_is_nothing(database: Database) -> None:
    await database.write(lambda transaction: transaction.executemany(INSERT, []) and None)
    assert await database.read(ids) == []


async def test_what_raises_leaves_nothing(database: Database) -> None:
    class OursError(Exception):
        pass

    def work(transaction: Transaction) -> None:
        insert("a")(transaction)
        raise OursError

    with pytest.raises(OursError):
        await database.write(work)
    assert await database.read(ids) == []
    await database.write(insert("b"))
    assert await database.read(ids) == ["b"]


@pytest.mark.parametrize(
    ("key", "size"),
    [("a", 1), ("b", -1), ("b", 2**70), ("\ud800", 1)],
    ids=["there already", "broken rule", "too large a number", "no text"],
)
async def test_value_that_can_not_be_stored_is_refused_whole(database: Database, key: str, size: int) -> None:
    await database.write(insert("a"))

    def two(transaction: Transaction) -> None:
        insert("first")(transaction)
        insert(key, size=size)(transaction)

    with pytest.raises(Refused) as caught:
        await database.write(two)
    assert "a" not in caught.value.reason.split(), "it quotes nothing of the value"
    assert await database.read(ids) == ["a"]


async def test_a_statement_that_is_wrong_is_a_fault_of_ours(database: Database) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each library has its own
        await database.write(lambda transaction: transaction.execute("SELECT * FROM nowhere").fetchall())
    assert not isinstance(caught.value, Refused)
    await database.write(insert("a"))
    assert await database.read(ids) == ["a"]


async def test_reading_sees_one_state_while_others_write(database: Database) -> None:
    await database.write(insert("a"))
    loop = asyncio.get_running_loop()

    def work(transaction: Transaction) -> tuple[list[str], list[str]]:
        before = ids(transaction)
        asyncio.run_coroutine_threadsafe(database.write(insert("b")), loop).result(60)
        return before, ids(transaction)

    assert await database.read(work) == (["a"], ["a"])
    assert await database.read(ids) == ["a", "b"]


async def test_writes_come_one_after_the_other(database: Database) -> None:
    await database.write(insert("n", size=0))

    def increase(transaction: Transaction) -> None:
        [(size,)] = transaction.execute("SELECT size FROM things WHERE id = ?", ("n",)).fetchall()
        transaction.execute("UPDATE things SET size = ? WHERE id = ?", (size + 1, "n"))

    await asyncio.gather(*(database.write(increase) for _ in range(50)))
    [(size,)] = await database.read(lambda transaction: transaction.execute("SELECT size FROM things").fetchall())
    assert size == 50


async def test_many_values_in_one_list(database: Database) -> None:
    names = [f"{number:04}" for number in range(1000)]
    await database.write(insert(*names))
    find = f"SELECT COUNT(*) FROM things WHERE id IN ({marks(len(names))})"
    row = await database.read(lambda transaction: transaction.execute(find, names).fetchone())
    assert row[0] == 1000


async def test_migrations_run_once_and_go_on_where_they_were(opened: Open) -> None:
    old = opened([THINGS])
    await old.write(insert("a"))
    await old.close()
    for _ in range(2):
        new = opened([THINGS, MORE])
        assert await new.read(ids) == ["a", "made"]
        await new.close()


async def test_a_schema_that_is_newer_than_the_program_is_left_alone(opened: Open) -> None:
    new = opened([THINGS, MORE])
    await new.ping()
    old = opened([THINGS])
    for attempt in (old.ping(), old.read(ids), old.write(insert("b"))):
        with pytest.raises(StoreUnavailable):
            await attempt
    assert await new.read(ids) == ["made"]
    await new.close()
    await old.close()


async def test_a_migration_that_fails_leaves_nothing(opened: Open) -> None:
    broken = opened([THINGS, ("INSERT INTO things VALUES ('half', 0, NULL)", "INSERT INTO nowhere VALUES (1)")])
    with pytest.raises(Exception):  # noqa: B017, PT011  # each library has its own
        await broken.ping()
    await broken.close()
    whole = opened([THINGS])
    assert await whole.read(ids) == []
    await whole.close()
