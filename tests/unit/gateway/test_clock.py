from __future__ import annotations

import pytest

from services.gateway.clock import ClockWatch

SECOND = 1_000_000_000


class Times:
    def __init__(self) -> None:
        self.wall = 1_800_000_000 * SECOND
        self.counted = 5 * SECOND

    def passes(self, seconds: float, jump: float = 0.0) -> None:
        self.wall += int((seconds + jump) * SECOND)
        self.counted += int(seconds * SECOND)


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def watch(times: Times) -> ClockWatch:
    return ClockWatch(lambda: times.wall, lambda: times.counted)


def test_a_clock_that_goes_on_or_is_slewed_did_not_jump(times: Times, watch: ClockWatch) -> None:
    for _ in range(1000):
        times.passes(1.0, 0.0005)
        watch.look()
    times.passes(3600.0)
    watch.look()
    assert watch.jumps == 0


@pytest.mark.parametrize("jump", [-3600.0, 86_400.0, -1.5])
def test_a_jump_is_counted_once(times: Times, watch: ClockWatch, jump: float) -> None:
    times.passes(1.0, jump)
    watch.look()
    times.passes(1.0)
    watch.look()
    assert watch.jumps == 1
    assert watch.last_seconds == pytest.approx(jump)
