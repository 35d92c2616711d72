from __future__ import annotations

import itertools
import uuid

import pytest

from services.kernel import identifiers
from services.kernel.identifiers import uuid7


def test_it_is_a_uuid_of_version_7_that_holds_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identifiers.time, "time_ns", lambda: 1_800_000_000_123_456_789)
    made = uuid.UUID(uuid7())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == 1_800_000_000_123


def test_ids_are_unique_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    start = 1_800_000_000_000_000_000
    jumps = itertools.cycle([0, 0, 1_000_000, -3_600_000_000_000, 3_600_000_000_000])
    times = itertools.accumulate(jumps, initial=start)
    monkeypatch.setattr(identifiers.time, "time_ns", lambda: next(times))
    made = [uuid7() for _ in range(100_000)]
    assert len(set(made)) == len(made)


def test_ids_of_later_milliseconds_sort_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count(1_800_000_000_000_000_000, 1_000_000)
    monkeypatch.setattr(identifiers.time, "time_ns", lambda: next(times))
    made = [uuid7() for _ in range(1000)]
    assert made == sorted(made)
