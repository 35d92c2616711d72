"""When a part is started again."""

from __future__ import annotations

from cli.backoff import Backoff


def test_the_first_restart_comes_at_once_and_later_ones_ever_later() -> None:
    backoff = Backoff()
    assert [backoff.next(float(second)) for second in range(7)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


def test_too_many_within_a_minute_is_failing_until_they_are_past() -> None:
    backoff = Backoff(limit=2)
    for second in (0.0, 1.0):
        backoff.next(second)
        assert not backoff.failing
    backoff.next(2.0)
    assert backoff.failing
    assert backoff.next(62.0) == 0.0
    assert not backoff.failing


def test_a_death_now_and_then_is_always_forgiven() -> None:
    backoff = Backoff()
    assert {backoff.next(minute * 61.0) for minute in range(20)} == {0.0}
    assert not backoff.failing
