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


@pytest.mark.parametrize("tail", ["noise", "a frame without its end", "a frame of an older log"])
def test_a_torn_tail_costs_nothing_that_was_taken(tmp_path: Path, tail: str) -> None:
    path, log = tmp_path / "outbox.sqlite3", tmp_path / "outbox.sqlite3-wal"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    taken = 0
    while taken < 300:
        taken = int(writer.stdout.readline())
    writer.kill()
    taken = max([taken, *(int(line) for line in writer.stdout.read().split())])
    writer.wait()
    whole = log.read_bytes()
    torn = {
        "noise": os.urandom(3000),
        "a frame without its end": whole[-4120:-100],
        "a frame of an older log": whole[32 : 32 + 4120],
    }[tail]
    log.write_bytes(whole + torn)
    outbox = SqliteOutbox(path)
    assert outbox.depth >= taken
    outbox.append([entry("after")])
    outbox.close()
    outbox = SqliteOutbox(path)
    stored = [item.entry.event.key for item in outbox.head(10_000_000)]
    assert stored == [*map(str, range(len(stored) - 1)), "after"]
    outbox.close()


@pytest.mark.parametrize("loss", ["gone", "emptied"])
def test_a_file_that_was_there_is_not_begun_anew_by_itself(tmp_path: Path, loss: str) -> None:
    path = tmp_path / "outbox.sqlite3"
    SqliteOutbox(path).close()
    if loss == "gone":
        path.unlink()
    else:
        os.truncate(path, 0)
    with pytest.raises(OutboxUnavailable, match=r"gone or empty.*put it back, or remove outbox\.sqlite3\.lock"):
        SqliteOutbox(path)
    (tmp_path / "outbox.sqlite3.lock").unlink()
    SqliteOutbox(path).close()


def test_a_file_that_was_cut_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    outbox = SqliteOutbox(path)
    outbox.append([entry(str(number)) for number in range(1000)])
    outbox.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OutboxUnavailable, match=r"is damaged \(.*\) and may hold events that are nowhere else"):
        SqliteOutbox(path)
    assert path.read_bytes() == whole[: len(whole) // 2]


def test_a_disk_with_too_little_room_refuses_before_it_is_full(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite3", min_free_bytes=1 << 60)
    assert outbox.full
    with pytest.raises(OutboxUnavailable, match=r"its disk has \d+ bytes free; \d+ must stay"):
        outbox.append([entry("a")])
    with pytest.raises(OutboxUnavailable, match="must stay"):
        outbox.check()
    outbox.close()


async def test_room_that_comes_back_is_noticed_when_it_is_tended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite3", min_free_bytes=1000)
    free = [999]
    monkeypatch.setattr(outbox, "_free", lambda: free[0])
    await outbox.tend()
    assert outbox.refusing
    free[0] = 1000
    await outbox.tend()
    assert not outbox.refusing
    outbox.close()


def test_after_a_failed_sync_nothing_is_taken_until_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outbox.sqlite3"
    outbox = SqliteOutbox(path)
    outbox.append([entry("a")])

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(OutboxUnavailable, match="Input/output error"):
            outbox.sync()
    assert outbox.refusing
    with pytest.raises(OutboxUnavailable, match="could not be synced"):
        outbox.append([entry("b")])
    outbox.close()
    outbox = SqliteOutbox(path)
    assert [item.entry.event.key for item in outbox.head(10)] == ["a"]
    outbox.append([entry("b")])
    outbox.sync()
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
        assert outbox.refusing
        with pytest.raises(OutboxUnavailable):
            outbox.check()
        assert [item.entry.event.key for item in outbox.head(1)] == ["kept"]
        assert len(outbox.head(100_000)) == held
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    outbox.check()
    assert not outbox.refusing
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
