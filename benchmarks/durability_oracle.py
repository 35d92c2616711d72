"""What the durability benchmark remembers of its calls, and how it judges the audit log by that.

A call has a caller of its own and each of its texts a request id of its own, so a record tells by itself whose it is:
its request id names the text, and where that was never read (a call that was refused as a whole), its caller names the
call.

What a caller was told binds the log: one record, and it says the same. A call without an answer binds it less: at most
one record. AUDIT_UNAVAILABLE is the one answer that says of itself that there may be no record.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

UNAUDITED = "AUDIT_UNAVAILABLE"
LATE = "DEADLINE_EXCEEDED"
"""May be said after the record was made, when the time runs out while it is being stored; the record then has what
would have been said."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller was told of one text, or of a call as a whole: an answer, or the reason of a refusal."""

    audit_id: str = ""
    label: str = ""
    reason: str = ""

    @property
    def binds(self) -> bool:
        return self.reason != UNAUDITED


@dataclass(slots=True)
class Call:
    """One call that was sent. `items` has the request id of each of its texts; None until it is answered."""

    caller: str
    kind: str
    trial: int
    items: dict[str, Told | None] = field(default_factory=dict)
    told: Told | None = None
    """What was said of the call as a whole: a refusal of all of it, or the answer to one that classifies nothing."""

    @property
    def answers(self) -> list[Told]:
        """Everything that its caller was told."""
        return [told for told in (self.told, *self.items.values()) if told is not None]


@dataclass(frozen=True, slots=True)
class Record:
    """One event of the audit log, as far as the oracle looks."""

    event_id: str
    request_id: str
    caller: str
    label: str = ""
    reason: str = ""

    def says(self, told: Told) -> bool:
        """Whether it says what the caller was told. A refusal names no record, so only an answer's id is compared."""
        if told.reason == LATE:
            return True
        known = not told.audit_id or told.audit_id == self.event_id
        return known and (told.label, told.reason) == (self.label, self.reason)


@dataclass(slots=True)
class Verdict:
    """What is wrong, a line each; all empty when nothing is."""

    lost: list[str] = field(default_factory=list)
    """An answer without its record, or a record without its leaf."""
    double: list[str] = field(default_factory=list)
    """A second record of one text or call, or a second leaf of one record."""
    phantom: list[str] = field(default_factory=list)
    """A record of a call that was never sent, or a leaf without a record."""
    wrong: list[str] = field(default_factory=list)
    """A record that says something else than the caller was told."""

    @property
    def clean(self) -> bool:
        return not (self.lost or self.double or self.phantom or self.wrong)

    def lines(self) -> list[str]:
        return [f"{kind}: {line}" for kind in ("lost", "double", "phantom", "wrong") for line in getattr(self, kind)]


def judge(calls: Iterable[Call], records: Sequence[Record], leaves: Mapping[str, int]) -> Verdict:
    """Holds the log against what was sent and answered. `leaves` has the number of leaves of each event id."""
    verdict = Verdict()
    known = {call.caller: call for call in calls}
    texts = {request_id: call for call in known.values() for request_id in call.items}
    of_text: dict[str, list[Record]] = defaultdict(list)
    of_call: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.request_id in texts:
            of_text[record.request_id].append(record)
        elif record.caller in known:
            of_call[record.caller].append(record)
        else:
            verdict.phantom.append(f"record {record.event_id} of request {record.request_id} by {record.caller}")
    for call in known.values():
        _judge_call(verdict, call, {key: of_text[key] for key in call.items}, of_call[call.caller])
    _judge_leaves(verdict, records, leaves)
    return verdict


def _judge_call(verdict: Verdict, call: Call, of_text: Mapping[str, list[Record]], whole: list[Record]) -> None:
    where = f"{call.kind} of {call.caller} in trial {call.trial}"
    alone = len(call.items) == 1 and call.told is None
    for request_id, told in call.items.items():
        # A call with one text may have been refused before the text was read; the record is the call's then.
        found = [*of_text[request_id], *whole] if alone else of_text[request_id]
        _judge_one(verdict, f"{where}, request {request_id}", told, found)
    if alone:
        return
    each_has_one = bool(call.items) and all(len(found) == 1 for found in of_text.values())
    if call.told is not None and not whole and each_has_one:
        return  # refused as a whole after each of its texts had its record
    _judge_one(verdict, where, call.told, whole)


def _judge_one(verdict: Verdict, where: str, told: Told | None, found: Sequence[Record]) -> None:
    if len(found) > 1:
        verdict.double.append(f"{where}: records {', '.join(record.event_id for record in found)}")
    if told is None or not told.binds:
        return
    if not found:
        verdict.lost.append(f"{where}: told {told.audit_id or told.reason or 'something'}, no record")
    elif not any(record.says(told) for record in found):
        said = ", ".join(f"{record.event_id} {record.label or record.reason}" for record in found)
        verdict.wrong.append(f"{where}: told {told.audit_id} {told.label or told.reason}, recorded as {said}")


def _judge_leaves(verdict: Verdict, records: Sequence[Record], leaves: Mapping[str, int]) -> None:
    kept = Counter(record.event_id for record in records)
    for event_id, times in kept.items():
        if times > 1:
            verdict.double.append(f"record {event_id} is listed {times} times")
        if event_id not in leaves:
            verdict.lost.append(f"record {event_id} has no leaf")
    for event_id, times in leaves.items():
        if times > 1:
            verdict.double.append(f"record {event_id} has {times} leaves")
        if event_id not in kept:
            verdict.phantom.append(f"leaf of {event_id}, of which there is no record")
