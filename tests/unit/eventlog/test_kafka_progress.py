from __future__ import annotations

import random

from services.kernel.eventlog.kafka_progress import Progress
from services.kernel.eventlog.port import Event


def add(progress: Progress, partition: int, *offsets: int) -> None:
    progress.add(partition, [(offset, Event(f"{partition}/{offset}", b"")) for offset in offsets])


def test_a_gap_holds_the_commit_back() -> None:
    progress = Progress()
    add(progress, 0, 5, 6, 8, 9)  # 7 is no event: Kafka's numbers have holes
    five, six, eight, nine = progress.take(9)
    progress.finish([six, nine])
    assert progress.to_commit() == {}
    progress.finish([five])
    assert progress.to_commit() == {0: 7}
    progress.committed({0: 7})
    assert progress.to_commit() == {}
    progress.finish([eight])
    assert progress.to_commit() == {0: 10}
    progress.committed({0: 10})
    progress.finish([five, six, eight, nine])
    assert (progress.to_commit(), progress.last_committed()) == ({}, {0: 10})


def test_what_is_held_is_not_done() -> None:
    progress = Progress()
    add(progress, 0, 0, 1, 2)
    add(progress, 1, 7)
    taken = progress.take(2)
    assert [delivery.position for delivery in taken] == ["0/0", "0/1"]
    progress.finish(taken)
    assert progress.to_commit() == {0: 2}
    assert [delivery.position for delivery in progress.take(9)] == ["0/2", "1/7"]


def test_partitions_that_went_are_forgotten_and_never_committed() -> None:
    progress = Progress()
    add(progress, 0, 0, 1, 2)
    add(progress, 1, 0)
    taken = progress.take(2)
    progress.finish(taken[:1])
    progress.forget([0])
    assert progress.to_commit() == {}
    assert [delivery.position for delivery in progress.take(9)] == ["1/0"], "what is held goes, too"
    progress.finish(taken)
    assert progress.to_commit() == {}


def test_a_late_commit_does_not_move_a_partition_back_that_came_again() -> None:
    progress = Progress()
    add(progress, 0, 0, 1)
    late = progress.take(2)
    progress.forget()
    add(progress, 0, 20)  # another consumer got as far as that
    progress.finish(late)
    assert progress.to_commit() == {}
    progress.finish(progress.take(1))
    assert progress.to_commit() == {0: 21}


def test_attempts_are_counted_over_a_loss() -> None:
    progress = Progress()
    for attempt in (1, 2, 3):
        add(progress, 0, 0, 1)
        assert [delivery.attempt for delivery in progress.take(9)] == [attempt, attempt]
        progress.forget()


def test_no_commit_ever_passes_what_is_not_done() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        progress = Progress()
        open_, done, following = [], {-1}, 0
        for _ in range(60):
            match chance.choice(("add", "take", "finish")):
                case "add":
                    add(progress, 0, *range(following, following + 3))
                    following += 3
                case "take":
                    open_ += progress.take(chance.randint(1, 4))
                case "finish" if open_:
                    delivery = open_.pop(chance.randrange(len(open_)))
                    progress.finish([delivery])
                    done.add(int(delivery.position.partition("/")[2]))
            for behind in progress.to_commit().values():
                assert set(range(behind)) <= done, seed
                if chance.random() < 0.5:
                    progress.committed({0: behind})
