"""A torn end of the outbox's write-ahead log: what was committed before it is all there, and nothing else."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from benchmarks.durability_outbox import NotAWal, right_end, tear


def copied(tmp_path: Path, rows: int) -> Path:
    """Returns a database as a kill leaves it: what was committed stands in the write-ahead log alone."""
    live = sqlite3.connect(tmp_path / "live", isolation_level=None)
    live.execute("PRAGMA journal_mode=WAL")
    live.execute("PRAGMA wal_autocheckpoint=0")
    live.execute("CREATE TABLE outbox (position INTEGER PRIMARY KEY, payload BLOB)")
    for _ in range(rows):
        live.execute("INSERT INTO outbox (payload) VALUES (zeroblob(700))")
    dead = tmp_path / "dead"
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{live_path(tmp_path)}{suffix}", f"{dead}{suffix}")
    live.close()
    return dead


def live_path(tmp_path: Path) -> Path:
    return tmp_path / "live"


def rows_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute("SELECT COUNT(*) FROM outbox").fetchone()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(count)
    finally:
        connection.close()


def test_the_right_end_is_where_sqlite_stops_reading(tmp_path: Path) -> None:
    log = Path(f"{copied(tmp_path, 20)}-wal")
    content = log.read_bytes()
    assert right_end(content) == len(content)
    assert right_end(content + content[32 : 32 + 4120]) == len(content)
    broken = bytearray(content)
    broken[-1] ^= 1
    assert right_end(bytes(broken)) < len(content)
    for unreadable in (b"", content[:31], b"\0" * 64, content[:24] + b"\0" * 40):
        with pytest.raises(NotAWal):
            right_end(unreadable)


@pytest.mark.parametrize("seed", range(40))
def test_a_torn_end_takes_nothing_and_adds_nothing(tmp_path: Path, seed: int) -> None:
    dead = copied(tmp_path, 30)
    log = Path(f"{dead}-wal")
    before = log.read_bytes()
    assert tear(log, random.Random(seed))
    after = log.read_bytes()
    assert after[: len(before)] == before
    assert len(after) > len(before)
    assert rows_of(dead) == 30


def test_frames_of_an_older_log_behind_the_end_are_written_over(tmp_path: Path) -> None:
    dead = copied(tmp_path, 5)
    log = Path(f"{dead}-wal")
    end = len(log.read_bytes())
    with log.open("ab") as file:
        file.write(bytes(100_000))
    tear(log, random.Random(1))
    assert any(log.read_bytes()[end : end + 64])
    assert rows_of(dead) == 5


def test_a_log_that_was_only_begun(tmp_path: Path) -> None:
    dead = copied(tmp_path, 3)
    checkpoint = sqlite3.connect(dead)
    checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    checkpoint.close()
    assert tear(Path(f"{dead}-wal"), random.Random(2)) == "noise in an empty log"
    assert rows_of(dead) == 3
