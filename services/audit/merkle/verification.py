"""Verifies a log: its entries, one after the other, against checkpoints and leaf hashes that the verifier trusts.

What is trusted comes from elsewhere: checkpoints whose signature was checked, and the leaf hashes that a witness kept.
The entries come from the log, and are doubted. How much is found depends on what is trusted:

- without a checkpoint from elsewhere, a log that was cut back, or rewritten and signed anew, looks whole;
- with one, that is found, and lies between the last checkpoint that still holds and the first that does not;
- with a witness's leaf hashes too, its first entry is named.

Memory: about 150 bytes an entry, because each event's id is kept to find one that is there twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from services.audit.merkle.frontier import Frontier
from services.audit.merkle.hashing import HASH_BYTES, leaf_hash
from services.audit.merkle.notes import Checkpoint

PROGRESS_ENTRIES = 1000
"""How often verify() tells how far it is."""


_NO_HASH = f"its leaf hash is not {HASH_BYTES} bytes"


class State(Enum):
    """Where an entry's content is."""

    PRESENT = "present"
    EXPIRED = "expired"
    ARCHIVED = "archived"


class Entry(NamedTuple):
    """An entry as the log gives it. `record` is empty where the content is elsewhere or gone."""

    place: int
    leaf_hash: bytes
    record: bytes
    state: State = State.PRESENT


class Removal(NamedTuple):
    """That the contents of entries start to end - 1 left the log, as an action of the log says."""

    start: int
    end: int
    state: State


class Content(NamedTuple):
    """What a verifier looks at in a record."""

    event_id: str
    removals: Sequence[Removal] = ()


class RecordInvalid(Exception):
    """A record is not what the log keeps. Its text says why, without anything of the record."""


class EntriesBroken(Exception):
    """Raised by a source of entries when what comes next can't be read. Its text says why."""


ReadContent = Callable[[bytes], Content]
"""Reads a record. Raises RecordInvalid."""


class LeafHashes(Protocol):
    """Leaf hashes one behind the other: bytes, or a file in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where: the first bad entry is one of start to end - 1."""

    start: int
    end: int
    fault: str
    shows: bool = True
    """Whether the fault shows at the last of them; those before it look right then, but nothing confirms them."""

    @property
    def exact(self) -> bool:
        """Whether it is known which entry is the first bad one."""
        return self.end == self.start + 1

    def __str__(self) -> str:
        last = self.end - 1
        if self.exact:
            return f"entry {last}: {self.fault}"
        if self.shows:
            return f"entry {last}: {self.fault}; no checkpoint confirms those from {self.start} to it"
        return f"one of entries {self.start} to {last}: {self.fault}"


@dataclass(slots=True)
class Verdict:
    """What a verification found."""

    entries: int = 0
    """How many were read."""

    proven: int = 0
    """The first so many are those that a trusted checkpoint was signed over."""

    checkpoints: int = 0
    """How many trusted checkpoints hold."""

    root: bytes = b""
    """The root over the proven entries."""

    removed: dict[State, int] = field(default_factory=dict)
    """How many contents are not there, by where they went."""

    events: dict[bytes, int] = field(default_factory=dict)
    """The entry of each event whose content was read, by packed(event_id)."""

    roots: dict[int, bytes] = field(default_factory=dict)
    """The roots that were asked for, by size; as far as they were read."""

    finding: Finding | None = None
    """What is wrong with an entry; None when nothing is."""

    unexplained: bool = False
    """Whether the finding is that a content is gone and nothing says why. In a log that goes on meanwhile, what says so
    may have come since."""

    proof_fault: str = ""
    """What is wrong with the log's own proofs although its entries are right; verify() sees none of them."""

    @property
    def ok(self) -> bool:
        return self.finding is None and not self.proof_fault


def verify(
    entries: Iterable[Entry],
    checkpoints: Sequence[Checkpoint],
    read_content: ReadContent,
    witnessed: LeafHashes = b"",
    progress: Callable[[int], None] = lambda done: None,
    roots_at: Iterable[int] = (),
) -> Verdict:
    """Reads a log from its first entry to its last, or to the first that is bad.

    Args:
        entries: all of them, in order; the iterator may raise EntriesBroken.
        checkpoints: the trusted ones, the log's newest among them, in any order. Entries behind the largest are
            a fault: nobody vouches for them.
        read_content: reads a record.
        witnessed: the log's leaf hashes as a witness kept them, from entry 0 on; as far as they go.
        progress: called now and then with the number of entries read.
        roots_at: the sizes whose roots the verdict is to hold.

    Returns: the verdict, which names the first bad entry, or the narrowest range that holds it.
    """
    return _Verification(checkpoints, read_content, witnessed, progress, roots_at).run(iter(entries))


class _Verification:
    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        read_content: ReadContent,
        witnessed: LeafHashes,
        progress: Callable[[int], None],
        roots_at: Iterable[int],
    ) -> None:
        self._largest = max((checkpoint.size for checkpoint in checkpoints), default=0)
        self._by_size: dict[int, list[Checkpoint]] = {size: [] for size in roots_at if size <= self._largest}
        for checkpoint in checkpoints:
            self._by_size.setdefault(checkpoint.size, []).append(checkpoint)
        self._sizes = sorted(self._by_size, reverse=True)
        self._read_content = read_content
        self._witnessed = witnessed
        self._witnessed_size = len(witnessed) // HASH_BYTES
        self._progress = progress
        self._frontier = Frontier()
        self._missing: list[Removal] = []
        self._removals: list[Removal] = []
        self._suspect: Finding | None = None
        self._verdict = Verdict()

    def run(self, entries: Iterator[Entry]) -> Verdict:
        verdict = self._verdict
        verdict.finding = self._read(entries) or self._suspect or self._unexplained()
        verdict.entries = self._frontier.size
        for run in self._missing:
            verdict.removed[run.state] = verdict.removed.get(run.state, 0) + run.end - run.start
        self._progress(verdict.entries)
        return verdict

    def _read(self, entries: Iterator[Entry]) -> Finding | None:
        """Returns what ends the reading; None at the log's end."""
        index = 0
        while True:
            # As far as the next checkpoint, or the next word about how far it is.
            if self._sizes and self._sizes[-1] == index:
                if finding := self._compare():
                    return finding
                continue
            stop = min(self._sizes[-1] if self._sizes else index + 1, index + PROGRESS_ENTRIES)
            hashes: list[bytes] = []
            finding = self._read_some(entries, index, stop, hashes)
            self._frontier.extend(hashes)
            index += len(hashes)
            if finding or index < stop:
                return finding
            self._progress(index)

    def _read_some(self, entries: Iterator[Entry], index: int, stop: int, hashes: list[bytes]) -> Finding | None:
        """Reads entries index to stop - 1, fewer at the log's end, and puts their leaf hashes into `hashes`."""
        while index < stop:
            try:
                entry = next(entries, None)
            except EntriesBroken as broken:
                return self._unconfirmed(index, str(broken))
            if entry is None:
                if index < self._largest:
                    return self._unconfirmed(index, f"missing; the log ends here, and had {self._largest} entries")
                return None
            if index >= self._largest:
                return _at(index, "no checkpoint covers it")
            if entry.place != index:
                return self._unconfirmed(index, f"missing; entry {entry.place} is in its place")
            if self._suspect is None and (fault := self._fault(entry)):
                self._suspect = _at(index, fault)
                if index < self._witnessed_size:
                    return self._suspect
            if len(entry.leaf_hash) != HASH_BYTES:
                return self._unconfirmed(index, _NO_HASH)
            hashes.append(entry.leaf_hash)
            index += 1
        return None

    def _fault(self, entry: Entry) -> str | None:
        """Says what is wrong with an entry by itself."""
        index, given, record, state = entry
        if len(given) != HASH_BYTES:
            return _NO_HASH
        if index < self._witnessed_size and self._witnessed[index * HASH_BYTES : (index + 1) * HASH_BYTES] != given:
            return "its leaf hash is not the one that the witness kept"
        if not record:
            if state is State.PRESENT:
                return "its record is missing"
            self._note_missing(index, state)
            return None
        if leaf_hash(record) != given:
            return "its record does not have the hash that the log has for it"
        try:
            content = self._read_content(record)
        except RecordInvalid as invalid:
            return str(invalid)
        if self._verdict.events.setdefault(packed(content.event_id), index) != index:
            return f"event {content.event_id} is in the log already"
        # An action speaks of what was before it.
        self._removals += [removal for removal in content.removals if removal.end <= index]
        return None

    def _note_missing(self, index: int, state: State) -> None:
        last = self._missing[-1] if self._missing else None
        if last is not None and last.end == index and last.state is state:
            self._missing[-1] = Removal(last.start, index + 1, state)
        else:
            self._missing.append(Removal(index, index + 1, state))

    def _compare(self) -> Finding | None:
        """Holds the tree as read so far against the checkpoints of its size."""
        verdict, root = self._verdict, self._frontier.root()
        size = self._sizes.pop()
        verdict.roots[size] = root
        if not self._by_size[size]:
            return None
        differing = [checkpoint for checkpoint in self._by_size[size] if checkpoint.root != root]
        verdict.checkpoints += len(self._by_size[size]) - len(differing)
        if differing:
            # The suspect's leaf hash was taken as given, so it or one before it is not what was signed.
            end = self._suspect.end if self._suspect else max(size, 1)
            start = max(verdict.proven, min(self._witnessed_size, end - 1))
            return Finding(start, end, f"not as in the checkpoint of {size} entries", shows=False)
        if self._suspect:
            # All leaf hashes are those that were signed, so everything before the suspect is right.
            return self._suspect
        verdict.proven, verdict.root = size, root
        return None

    def _unconfirmed(self, index: int, fault: str) -> Finding:
        """Returns the fault that ends the reading, or the suspect before it: the tree can't be followed any further."""
        if self._suspect:
            index, fault = self._suspect.start, self._suspect.fault
        return Finding(max(self._verdict.proven, min(self._witnessed_size, index)), index + 1, fault)

    def _unexplained(self) -> Finding | None:
        """Returns the first entry whose content is gone although no action of the log took it."""
        explained = {state: _Spans(one for one in self._removals if one.state is state) for state in State}
        for run in self._missing:
            start = explained[run.state].end_of(run.start)
            if start < run.end:
                self._verdict.unexplained = True
                return _at(start, f"its content is {run.state.value}, and no action of the log says so")
        return None


class _Spans:
    """Ranges of entries, those that touch or overlap made one."""

    def __init__(self, removals: Iterable[Removal]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end, _ in sorted(removals, key=lambda one: one[:2]):
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def end_of(self, index: int) -> int:
        """Returns the end of the range that holds `index`; `index` where none does."""
        found = bisect_right(self._starts, index) - 1
        return max(index, self._ends[found]) if found >= 0 else index


def _at(index: int, fault: str) -> Finding:
    return Finding(index, index + 1, fault)


def packed(event_id: str) -> bytes:
    """Returns a shorter form of a UUID, as it is written everywhere; of anything else the whole."""
    compact = event_id.replace("-", "")
    if len(compact) == 32 and len(event_id) == 36:
        try:
            return bytes.fromhex(compact)
        except ValueError:
            pass
    return event_id.encode()
