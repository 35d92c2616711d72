from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from services.kernel.sqlite import Database, Value, newest_first, put_once
from services.kernel.stores import Refused, Stored, StoreUnavailable

OLD = ("CREATE TABLE olds (id TEXT PRIMARY KEY)",)
THINGS = ("CREATE TABLE things (id TEXT PRIMARY KEY, size INTEGER NOT NULL CHECK (size >= 0), body BLOB NOT NULL)",)


def insert(connection: sqlite3.Connection, key: str = "a", size: int = 1) -> Stored:
    return put_once(connection, "things", "id", "body", {"id": key, "size": size, "body": b"x"})


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT COUNT(*) FROM things").fetchone()[0])


async def open_(path: Path) -> Database:
    return Database("test store", path, [OLD, THINGS])


async def test_what_is_committed_is_read_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.sqlite3"
    database = await open_(path)
    assert await database.read(count) == 0
    assert await database.write(insert) is Stored.NEW
    assert await database.write(insert) is Stored.REPEAT
    assert await database.read(count) == 1
    await database.ping()
    await database.close()
    assert path.stat().st_mode & 0o077 == 0, "nobody else's to read"
    database = await open_(path)
    assert await database.read(count) == 1
    await database.close()


async def test_settings_are_the_durable_ones(tmp_path: Path) -> None:
    database = await open_(tmp_path / "a")

    def pragmas(connection: sqlite3.Connection) -> list[object]:
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

    assert await database.write(pragmas) == ["wal", 2]
    await database.close()


@pytest.mark.parametrize(
    ("key", "size"), [("b", -1), ("b", 2**63), ("\ud800", 1)], ids=["broken rule", "too large a number", "no text"]
)
async def test_value_that_can_not_be_stored_is_refused_whole(tmp_path: Path, key: str, size: int) -> None:
    database = await open_(tmp_path / "a")

    def two(connection: sqlite3.Connection) -> None:
        insert(connection)
        insert(connection, key, size)

    with pytest.raises(Refused):
        await database.write(two)
    assert await database.read(count) == 0
    await database.write(insert)
    await database.close()


async def test_fault_in_the_work_rolls_back_and_is_passed_on(tmp_path: Path) -> None:
    database = await open_(tmp_path / "a")

    def work(connection: sqlite3.Connection) -> None:
        insert(connection)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(work)
    assert await database.read(count) == 0
    await database.close()


async def test_cancelled_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    database = await open_(tmp_path / "a")
    await database.ping()

    def fifty(connection: sqlite3.Connection) -> None:
        for number in range(50):
            insert(connection, str(number))

    writing = asyncio.create_task(database.write(fifty))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await database.ping()
    assert await database.read(count) in (0, 50)
    await database.close()


async def test_file_that_can_not_be_opened_is_unavailable_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    database = await open_(tmp_path / "taken" / "a")
    for call in (database.ping, lambda: database.read(count)):
        with pytest.raises(StoreUnavailable) as caught:
            await call()
        assert caught.value.metadata == {"part": "test store"}
    (tmp_path / "taken").unlink()
    assert await database.read(count) == 0
    await database.close()


async def test_full_disk_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    database = await open_(tmp_path / "a")
    await database.write(insert)

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 20")
        for number in range(1000):
            connection.execute("INSERT INTO things VALUES (?, 1, zeroblob(4096))", (str(number),))

    with pytest.raises(StoreUnavailable):
        await database.write(fill)
    assert await database.read(count) == 1
    assert await database.write(lambda connection: insert(connection, "b")) is Stored.NEW
    await database.close()


async def test_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no database at all" * 100)
    database = await open_(tmp_path / "a")
    with pytest.raises(StoreUnavailable):
        await database.read(count)
    await database.close()


async def test_schema_grows_and_a_newer_one_is_not_touched(tmp_path: Path) -> None:
    old = Database("test store", tmp_path / "a", [OLD])
    await old.ping()
    await old.close()
    new = await open_(tmp_path / "a")
    await new.write(insert)
    await new.close()
    old = Database("test store", tmp_path / "a", [OLD])
    with pytest.raises(StoreUnavailable):
        await old.ping()
    await old.close()


async def test_conflict_keeps_what_was_first(tmp_path: Path) -> None:
    database = await open_(tmp_path / "a")
    await database.write(insert)
    other: dict[str, Value] = {"id": "a", "size": 1, "body": b"other"}
    assert await database.write(lambda c: put_once(c, "things", "id", "body", other)) is Stored.CONFLICT
    assert await database.read(lambda c: c.execute("SELECT body FROM things").fetchall()) == [(b"x",)]
    await database.close()


def test_query_of_a_page() -> None:
    assert newest_first("t", ("a", "b"), ("b", "a"), [("a = ?", None), ("c < ?", 0)], (5, "x"), 9) == (
        "SELECT a, b FROM t WHERE c < ? AND (b, a) < (?, ?) ORDER BY b DESC, a DESC LIMIT ?",
        [0, 5, "x", 9],
    )
    assert newest_first("t", ("a",), ("a",), [], None, 1) == ("SELECT a FROM t ORDER BY a DESC LIMIT ?", [1])
