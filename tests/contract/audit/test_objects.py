"""What every archive promises, run on a folder and on a real S3 server; and the archiver over both."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from assay.audit.v1 import audit_pb2

from services.audit import convert
from services.audit.adapters.custody import SqlCustody, empty_log
from services.audit.adapters.objects import UrlObjects, require_valid
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.archive import Archiver
from services.audit.custody import Hold
from services.audit.events import Entry, EventQuery, State
from services.audit.merkle.entries import framed, read_entries
from services.audit.merkle.hashing import leaf_hash
from services.audit.months import Month
from services.kernel.errors import AssayError, Reason
from services.kernel.identifiers import uuid7
from services.kernel.stores import StoreUnavailable
from tests.contract.audit.conftest import Clock
from tests.fixtures.audit import arrivals, audit_event, vault
from tests.fixtures.s3 import s3

__all__ = ["s3"]


async def chunks(*given: bytes) -> AsyncIterator[bytes]:
    for chunk in given:
        yield chunk


async def content(objects: UrlObjects, name: str) -> bytes:
    return b"".join([chunk async for chunk in objects.read(name)])


async def intact() -> None:
    pass


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return (tmp_path / "archive folder").as_uri()
    given: str = request.getfixturevalue("s3").url
    return given


@pytest.fixture
def objects(url: str) -> UrlObjects:
    return UrlObjects(url)


async def test_an_object_comes_back_and_can_be_replaced_and_removed(objects: UrlObjects) -> None:
    large = bytes(range(256)) * (100 * 1024)  # 25 MiB: several parts
    await objects.write("2026-01/a.log", chunks(b"one", b"", b"two"))
    await objects.write("2026-01/b.log", chunks(large[:1000], large[1000:]))
    assert await content(objects, "2026-01/a.log") == b"onetwo"
    assert await content(objects, "2026-01/b.log") == large
    await objects.write("2026-01/a.log", chunks(b"three"))
    assert await content(objects, "2026-01/a.log") == b"three"
    await objects.remove("2026-01/a.log")
    await objects.remove("2026-01/a.log")
    with pytest.raises(StoreUnavailable):
        await content(objects, "2026-01/a.log")


async def test_content_that_fails_makes_the_writing_fail(objects: UrlObjects) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"one"
        raise StoreUnavailable("audit store")

    with pytest.raises(StoreUnavailable, match="PART_UNAVAILABLE"):
        await objects.write("a.log", broken())


async def test_an_archive_that_is_away_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody-here")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody-here")
    with pytest.raises(StoreUnavailable):
        await UrlObjects("s3://audit?endpoint=http://127.0.0.1:1").write("a.log", chunks(b"one"))


async def test_a_folder_that_can_not_be_made_is_said_when_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    objects = UrlObjects((tmp_path / "file" / "archive").as_uri())
    with pytest.raises(StoreUnavailable):
        await objects.write("a.log", chunks(b"one"))
    (tmp_path / "file").unlink()
    await objects.write("a.log", chunks(b"one"))
    assert await content(objects, "a.log") == b"one"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("/var/archive", "is no URL of an archive"),
        ("ftp://a/b", "is no URL of an archive"),
        ("file://", "names no folder"),
        ("file:///", "names no folder"),
        ("file://host/path", "names no folder"),
        ("s3://", "names no bucket"),
        ("s3://key:s3cret@bucket/a", "holds credentials"),
        ("s3://bucket?secret_access_key=s3cret", "has 1 options"),
    ],
)
def test_a_bad_url_is_refused_and_not_quoted(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        require_valid(url)
    assert "s3cret" not in str(caught.value)


class Log:
    """An event store, what is done to it, and an archive."""

    def __init__(self, tmp_path: Path, clock: Clock, objects: UrlObjects | None, most_entries: int = 1000) -> None:
        self.store = SqliteEventStore(tmp_path / "a.sqlite3", vault(), clock)
        self.custody = SqlCustody(self.store, intact, scrub=lambda: empty_log(tmp_path / "a.sqlite3"))
        self.archiver = Archiver(
            self.custody, self.store, objects, lambda one: framed(convert.from_entry(one)), clock, most_entries
        )

    async def fill(self, clock: Clock, months: int, each: int) -> list[audit_pb2.AuditEvent]:
        month, events = Month(2026, 1), []
        for _ in range(months):
            clock.now = month.start + 10**9
            added = [audit_event(len(events) + number) for number in range(each)]
            for event in added:
                event.create_time.FromNanoseconds(clock.now)
            await self.store.put(arrivals(added))
            events += added
            month = month.next
        return events

    async def entries(self) -> list[Entry]:
        return list(await self.store.entries(0, 1000, records=True))


async def test_past_months_move_and_can_be_read_and_proven_from_their_objects(
    objects: UrlObjects, tmp_path: Path, clock: Clock
) -> None:
    log = Log(tmp_path, clock, objects)
    await log.fill(clock, 3, 20)
    await log.custody.place(Hold("acme", "ward-7", Month(2026, 2).start, hold_id=uuid7(), create_time=clock.now), "c")
    before = await log.entries()
    archived = await log.archiver.archive(2**62, "ops")
    assert list(archived.objects) == [
        "2026-01/000000000000-000000000019.log",
        "2026-02/000000000020-000000000038.log",
    ]
    assert archived.events == 30  # all of January, half of February; March is not over
    after = await log.entries()
    gone = [entry.index for entry in after if entry.state is State.ARCHIVED]
    assert gone == [*range(20), *range(20, 40, 2)]
    assert [entry.leaf_hash for entry in after[:61]] == [entry.leaf_hash for entry in before]
    found = []
    for name in archived.objects:
        read = await content(objects, name)
        found += list(read_entries(io.BytesIO(read)))
        [said] = [
            event.action.contents_archived
            for logged in await log.store.page(EventQuery(outcome="action"), None, 10)
            if (event := audit_pb2.AuditEvent.FromString(logged.event)).action.contents_archived.object == name
        ]
        assert said.sha256 == hashlib.sha256(read).digest()
    assert [entry.place for entry in found] == gone
    for entry in found:
        assert leaf_hash(entry.record) == entry.leaf_hash == before[entry.place].leaf_hash
        assert b"ward-7" not in entry.record  # sealed there too
    assert await log.archiver.archive(2**62, "ops") == type(archived)([], 0)
    await log.store.close()


async def test_large_months_make_several_objects_and_a_given_time_ends_it(
    objects: UrlObjects, tmp_path: Path, clock: Clock
) -> None:
    log = Log(tmp_path, clock, objects, most_entries=8)
    await log.fill(clock, 3, 20)
    archived = await log.archiver.archive(Month(2026, 2).end - 1, "ops")
    assert (len(archived.objects), archived.events) == (3, 20)
    await log.store.close()


async def test_without_an_archive_the_setting_is_named(tmp_path: Path, clock: Clock) -> None:
    log = Log(tmp_path, clock, None)
    with pytest.raises(AssayError) as caught:
        await log.archiver.archive(2**62, "ops")
    assert (caught.value.reason, caught.value.metadata) == (Reason.ARCHIVE_MISSING, {"setting": "ASSAY_ARCHIVE"})
    await log.store.close()


class LyingObjects:
    """Gives back something else than was written."""

    async def write(self, name: str, content: AsyncIterator[bytes]) -> None:
        async for _ in content:
            pass

    async def read(self, name: str) -> AsyncIterator[bytes]:
        yield b"nothing of it"

    async def remove(self, name: str) -> None:
        pass


async def test_an_archive_that_loses_bytes_gets_nothing(tmp_path: Path, clock: Clock) -> None:
    log = Log(tmp_path, clock, None)
    await log.fill(clock, 2, 5)
    before = await log.entries()
    liar = Archiver(log.custody, log.store, LyingObjects(), lambda one: framed(convert.from_entry(one)), clock)
    with pytest.raises(StoreUnavailable):
        await liar.archive(2**62, "ops")
    assert await log.entries() == before
    await log.store.close()


async def test_a_hold_that_comes_while_a_month_is_copied_is_kept(
    objects: UrlObjects, tmp_path: Path, clock: Clock
) -> None:
    log = Log(tmp_path, clock, objects)
    await log.fill(clock, 2, 6)

    class Late(UrlObjects):
        placed = False

        async def write(self, name: str, content: AsyncIterator[bytes]) -> None:
            await super().write(name, content)
            if not self.placed:
                self.placed = True
                await log.custody.place(Hold("acme", "ward-7", hold_id=uuid7(), create_time=clock.now), "counsel")

    late = Late((tmp_path / "late").as_uri())
    archiver = Archiver(log.custody, log.store, late, lambda one: framed(convert.from_entry(one)), clock)
    archived = await archiver.archive(2**62, "ops")
    assert archived.events == 3
    assert [entry.index for entry in await log.entries() if entry.state is State.ARCHIVED] == [0, 2, 4]
    assert sorted(path.name for path in (tmp_path / "late" / "2026-01").iterdir()) == ["000000000000-000000000004.log"]
    await log.store.close()
