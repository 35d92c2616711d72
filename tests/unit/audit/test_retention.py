"""Retention: what goes, when, and what a clock that leaps can do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.audit.adapters.custody import SqlCustody
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.retention import DAY_NS, Retention
from services.audit.settings import Settings
from services.kernel.errors import AssayError
from services.kernel.settings import SettingsError, read
from services.kernel.stores import StoreUnavailable
from tests.fixtures.audit import arrivals, audit_event, vault

START = 1_750_000_000 * 10**9


class World:
    """A log, its retention and a clock that a test turns."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.store = SqliteEventStore(folder / "a.sqlite3", vault(), self.clock)
        self.custody = SqlCustody(self.store, self.intact)
        self.retention = Retention(self.custody, 183, self.clock, look_seconds=0)

    def clock(self) -> int:
        return self.now

    async def intact(self) -> None:
        pass

    async def put(self, number: int) -> None:
        event = audit_event(number)
        event.create_time.FromNanoseconds(self.now)
        await self.store.put(arrivals([event]))

    async def watch(self, days: float) -> None:
        """Lets time pass that counts, as all does that a running service sees pass."""
        self.now += int(days * DAY_NS)
        await self.custody.trust(self.now)

    async def there(self, number: int) -> bool:
        return await self.store.get(f"e{number:06}") is not None


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.custody.see(made.now)
    yield made
    await made.store.close()


async def test_contents_go_after_the_retention_and_not_before(world: World) -> None:
    await world.put(1)
    await world.watch(1)
    await world.put(2)
    await world.watch(182)
    assert (await world.retention.expire("ops")).events == 0
    await world.watch(0.1)
    assert (await world.retention.expire("ops")).events == 1
    assert not await world.there(1)
    assert await world.there(2)
    await world.retention.ping()


async def test_a_clock_that_leaps_years_ahead_removes_nothing(world: World) -> None:
    await world.put(1)
    await world.watch(10)
    world.now += 3650 * DAY_NS
    await world.put(2)  # written by the wrong clock
    expiry = await world.retention.expire("ops")
    assert expiry.events == 0
    assert expiry.doubted > 3649 * DAY_NS
    with pytest.raises(AssayError):
        await world.retention.ping()
    values = {metric.name: metric.samples[0].value for metric in world.retention.collect()}
    assert values["assay_audit_expiry_withheld"] == 1
    assert values["assay_audit_doubted_clock_seconds"] == expiry.doubted / 10**9
    world.now -= 3650 * DAY_NS  # put right
    assert (await world.retention.expire("ops")).doubted == 0
    await world.retention.ping()
    assert await world.there(1)


async def test_time_that_nobody_saw_pass_counts_once_it_is_trusted(world: World) -> None:
    await world.put(1)
    await world.watch(1)
    world.now += 200 * DAY_NS  # the machine was off
    expiry = await world.retention.expire("ops")
    assert (expiry.events, expiry.doubted) == (0, 200 * DAY_NS)
    assert await world.there(1)
    expiry = await world.retention.expire("ops", trust_clock=True)
    assert (expiry.events, expiry.doubted) == (1, 0)
    assert not await world.there(1)


async def test_doubt_is_no_alarm_while_it_keeps_nothing(world: World) -> None:
    await world.put(1)
    world.now += 3 * DAY_NS
    assert (await world.retention.expire("ops")).doubted == 3 * DAY_NS
    await world.retention.ping()


async def test_it_expires_by_itself_and_outlives_a_store_that_is_away(world: World) -> None:
    await world.put(1)
    await world.watch(184)
    down = True

    async def intact() -> None:
        if down:
            raise StoreUnavailable("audit store")

    retention = Retention(SqlCustody(world.store, intact), 183, world.clock, look_seconds=0)
    task = asyncio.create_task(retention.run())
    async with asyncio.timeout(60):
        while not any(
            metric.samples[0].value > 0
            for metric in retention.collect()
            if metric.name == "assay_audit_retention_late_seconds"
        ):
            await asyncio.sleep(0)
        assert await world.there(1)
        down = False
        while await world.there(1):
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


NEEDED = {
    "ASSAY_EVENT_LOG": "redis://127.0.0.1:1/0",
    "ASSAY_DATA": "a",
    "ASSAY_KEY_FILE": "k",
    "ASSAY_SIGNING_KEY_FILE": "s",
}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RETENTION_DAYS", "90", "ASSAY_RETENTION_DAYS is 90; it must be at least 183"),
        ("RETENTION_DAYS", "182", "ASSAY_RETENTION_DAYS is 182; it must be at least 183"),
        ("RETENTION_DAYS", "0", "ASSAY_RETENTION_DAYS is 0; it must be at least 183"),
        ("RETENTION_DAYS", "36501", "ASSAY_RETENTION_DAYS is 36501; it must be at most 36500"),
        ("RETENTION_DAYS", "half a year", "ASSAY_RETENTION_DAYS is 'half a year'; it must be a whole number"),
        ("ARCHIVE", "/var/archive", "ASSAY_ARCHIVE is no URL of an archive; it must be file:///folder"),
        ("ARCHIVE", "s3://a:b@c", "ASSAY_ARCHIVE holds credentials"),
    ],
)
def test_settings_that_can_not_be_are_refused_at_the_start(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(Settings, {**NEEDED, f"ASSAY_{name}": value})
    assert str(caught.value).startswith(words)


def test_half_a_year_is_the_default() -> None:
    assert read(Settings, NEEDED).retention_days == 183
    assert read(Settings, {**NEEDED, "ASSAY_RETENTION_DAYS": "400"}).retention_days == 400
