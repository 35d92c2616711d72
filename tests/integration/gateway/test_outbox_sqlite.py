"""What only a file on a disk can show."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from services.gateway.adapters.outbox_sqlite import SqliteOutbox
from services.gateway.ports import Entry, OutboxUnavailable
from services.kernel.eventlog.port import Event

WRITER = """
import sys
from pathlib import Path
from services.gateway.adapters.outbox_sqlite import SqliteOutbox
from services.gateway.ports import Entry
from services.kernel.eventlog.port import Event

outbox = SqliteOutbox(Path(sys.argv[1]))
number = 0
while True:
    outbox.append([Entry("audit", Event(str(number + step), b"x" * 300)) for step in range(3)])
    number += 3
    print(number, flush=True)
"""


def entry(key: str, size: int = 300) -> Entry:
    return Entry("audit", Event(key, b"x" * size))


def test_what_was_taken_is_there_after_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    taken = 0
    try:
        while taken < 600:
            taken = int(writer.stdout.readline())
    finally:
        writer.kill()
        taken = max([taken, *(int(line) for line in writer.stdout.read().split())])
        writer.wait()
    outbox = SqliteOutbox(path)
    stored = [int(item.entry.event.key) for item in outbox.head(10_000_000)]
    assert stored == list(range(len(stored)))
    assert len(stored) >= taken
    assert outbox.depth == len(stored)
    assert len(stored) % 3 == 0
    outbox.close()


def test_two_processes_can_not_hold_one_file(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    outbox = SqliteOutbox(path)
    with pytest.raises(OutboxUnavailable, match="another process"):
        SqliteOutbox(path)
    outbox.close()
    SqliteOutbox(path).close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(OutboxUnavailable, match="not a database"):
        SqliteOutbox(path)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutboxUnavailable):
        SqliteOutbox(tmp_path / "none" / "outbox.sqlite3")


def test_a_full_disk_refuses_keeps_what_it_has_and_recovers(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite3")
    outbox.append([entry("kept")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        with pytest.raises(OutboxUnavailable):  # noqa: PT012
            for number in range(10_000):
                outbox.append([entry(str(number)), entry(f"{number}b")])
        held = outbox.depth
        with pytest.raises(OutboxUnavailable):
            outbox.check()
        assert [item.entry.event.key for item in outbox.head(1)] == ["kept"]
        assert len(outbox.head(100_000)) == held
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    outbox.check()
    outbox.append([entry("after")])
    assert outbox.depth == held + 1
    outbox.close()


def test_size_in_bytes_is_bounded_and_counted_again_on_opening(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    outbox = SqliteOutbox(path, max_bytes=1000)
    outbox.append([entry("a", 600)])
    outbox.append([entry("b", 600)])
    assert outbox.full
    outbox.close()
    outbox = SqliteOutbox(path, max_bytes=1000)
    assert outbox.full
    outbox.discard(outbox.head(1)[0].position)
    assert not outbox.full
    outbox.close()


async def test_the_write_ahead_log_starts_over_when_it_is_tended(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    outbox = SqliteOutbox(path)

    def log_bytes() -> int:
        return os.stat(f"{path}-wal").st_size

    for number in range(40):
        outbox.append([entry(f"{number}/{step}", 4000) for step in range(80)])
    grown = log_bytes()
    assert grown > 8 << 20
    for _ in range(5):
        await outbox.tend()
        outbox.append([entry("more", 4000)])
    for number in range(20):
        outbox.append([entry(f"again {number}/{step}", 4000) for step in range(80)])
    assert log_bytes() <= grown * 1.1
    assert outbox.depth == 40 * 80 + 5 + 20 * 80
    outbox.close()


async def test_the_file_shrinks_after_a_long_outage(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    outbox = SqliteOutbox(path)
    for number in range(40):
        outbox.append([entry(f"{number}/{step}", 8000) for step in range(80)])
    await outbox.tend()
    before = sqlite3.connect(path).execute("PRAGMA page_count").fetchone()[0]
    outbox.discard(outbox.head(10_000)[-1].position)
    for _ in range(10):
        await outbox.tend()
    after = sqlite3.connect(path).execute("PRAGMA page_count").fetchone()[0]
    assert after < before / 2
    outbox.close()
