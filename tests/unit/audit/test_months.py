from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.audit.months import Month


def nanoseconds(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 10**9  # type: ignore[misc]  # parts are a date's


@pytest.mark.parametrize(
    ("time", "month"),
    [
        (nanoseconds(2026, 1, 1), Month(2026, 1)),
        (nanoseconds(2026, 1, 1) - 1, Month(2025, 12)),
        (nanoseconds(2024, 2, 29, 23), Month(2024, 2)),
        (2**63 - 1, Month(2262, 4)),
    ],
)
def test_month_of_a_time(time: int, month: Month) -> None:
    assert Month.of(time) == month
    assert month.start <= time < month.end


def test_months_follow_each_other_without_a_gap() -> None:
    month = Month(2025, 11)
    for name in ("2025-11", "2025-12", "2026-01"):
        assert str(month) == name
        assert month.end == month.next.start
        assert month < month.next
        month = month.next
