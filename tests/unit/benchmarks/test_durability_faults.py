"""What breaks in a trial follows from its seed and number alone."""

from __future__ import annotations

from collections import Counter

from benchmarks.durability_faults import FULL, KILL, TORN, VICTIMS, draw

LOAD = 2.5


def test_a_trial_can_be_drawn_again() -> None:
    assert draw(6, 11, LOAD) == draw(6, 11, LOAD)
    assert draw(6, 11, LOAD) != draw(7, 11, LOAD)
    assert draw(6, 11, LOAD) != draw(6, 12, LOAD)


def test_every_kind_of_fault_and_every_victim_comes_up() -> None:
    trials = [draw(1, number, LOAD) for number in range(200)]
    assert all(trials)
    kinds = Counter(faults[0].kind for faults in trials if len({fault.kind for fault in faults}) == 1)
    assert kinds[KILL] > 100
    assert kinds[FULL] > 10
    assert any(fault.kind == TORN for faults in trials for fault in faults)
    killed = Counter(fault.victim for faults in trials for fault in faults if fault.kind == KILL)
    assert set(killed) == set(VICTIMS)
    assert max(Counter(fault.victim for fault in trial).most_common(1)[0][1] for trial in trials) == 2


def test_faults_come_in_order_and_under_load() -> None:
    for number in range(100):
        faults = draw(3, number, LOAD)
        assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
        assert all(0 < fault.at <= LOAD for fault in faults)
