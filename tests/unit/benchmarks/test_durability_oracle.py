"""The durability benchmark's oracle: it finds each kind of fault, and none where there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from benchmarks.durability_oracle import Call, Record, Told, Verdict, judge

ANSWER = Told(audit_id="e1", label="card_lost")
RIGHT = Record("e1", "ask-a", "load-a", label="card_lost")


def verdict_of(calls: Sequence[Call], records: Sequence[Record], leaves: Sequence[str] | None = None) -> Verdict:
    ids = [record.event_id for record in records] if leaves is None else leaves
    return judge(calls, records, Counter(ids))


def text(told: Told | None = ANSWER) -> Call:
    return Call("load-a", "text", 1, {"ask-a": told})


def batch(told: Told | None = None) -> Call:
    return Call("load-a", "batch", 1, {"ask-a": None, "ask-b": None}, told)


REFUSED = Told(reason="METHOD_UNKNOWN")


@pytest.mark.parametrize(
    ("call", "records"),
    [
        (text(), [RIGHT]),
        (text(None), []),
        (text(None), [RIGHT]),
        (text(Told(reason="TEXT_BLANK")), [Record("e1", "ask-a", "load-a", reason="TEXT_BLANK")]),
        # refused before the text was read: the record knows the caller alone
        (text(Told(reason="MESSAGE_MALFORMED")), [Record("e1", "e1", "load-a", reason="MESSAGE_MALFORMED")]),
        (text(Told(reason="AUDIT_UNAVAILABLE")), []),
        (text(Told(reason="AUDIT_UNAVAILABLE")), [Record("e1", "ask-a", "load-a", reason="AUDIT_UNAVAILABLE")]),
        # the time ran out while the record of the answer was being stored
        (text(Told(reason="DEADLINE_EXCEEDED")), [RIGHT]),
        (Call("load-a", "listing", 1, {}, Told()), [Record("e1", "e1", "load-a")]),
        (batch(REFUSED), [Record("e1", "e1", "load-a", reason="METHOD_UNKNOWN")]),
        (batch(REFUSED), [Record("e1", "ask-a", "load-a"), Record("e2", "ask-b", "load-a")]),
    ],
)
def test_what_is_right_is_clean(call: Call, records: list[Record]) -> None:
    assert verdict_of([call], records).lines() == []


@pytest.mark.parametrize(
    ("fault", "call", "records"),
    [
        ("lost", text(), []),
        ("lost", text(Told(reason="TEXT_BLANK")), []),
        ("lost", text(Told(reason="DEADLINE_EXCEEDED")), []),
        ("lost", Call("load-a", "listing", 1, {}, Told()), []),
        ("lost", batch(REFUSED), []),
        ("lost", batch(REFUSED), [Record("e1", "ask-a", "load-a")]),
        ("double", text(), [RIGHT, Record("e2", "ask-a", "load-a", label="card_lost")]),
        ("double", text(None), [RIGHT, Record("e2", "ask-a", "load-a")]),
        ("double", text(), [RIGHT, Record("e2", "e2", "load-a")]),
        ("double", batch(REFUSED), [Record("e1", "e1", "load-a", reason="METHOD_UNKNOWN")] * 2),
        ("phantom", text(), [RIGHT, Record("e2", "ask-z", "load-z")]),
        ("wrong", text(), [Record("e1", "ask-a", "load-a", label="card_found")]),
        ("wrong", text(), [Record("e9", "ask-a", "load-a", label="card_lost")]),
        ("wrong", text(), [Record("e1", "ask-a", "load-a", reason="CANCELLED")]),
    ],
)
def test_each_fault_is_found(fault: str, call: Call, records: list[Record]) -> None:
    verdict = verdict_of([call], records)
    assert getattr(verdict, fault)
    assert not verdict.clean


@pytest.mark.parametrize(("fault", "leaves"), [("lost", []), ("double", ["e1", "e1"]), ("phantom", ["e1", "e2"])])
def test_each_fault_of_the_leaves_is_found(fault: str, leaves: list[str]) -> None:
    verdict = verdict_of([text()], [RIGHT], leaves)
    assert len(getattr(verdict, fault)) == 1
    assert len(verdict.lines()) == 1


def test_an_answer_binds_unless_it_says_that_there_is_no_record() -> None:
    assert ANSWER.binds
    assert not Told(reason="AUDIT_UNAVAILABLE").binds
    assert batch(REFUSED).answers == [REFUSED]
