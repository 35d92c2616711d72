"""What one consumer was given of a topic on Kafka and has not committed, and how far a commit may go."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.kernel.eventlog.port import Delivery, Event

_MOST_ATTEMPTS = 10_000
_Position = tuple[int, int]
"""Partition and offset."""


@dataclass(slots=True)
class _Partition:
    """What of an assigned partition was delivered and is not committed."""

    taken: dict[int, int] = field(default_factory=dict)
    """How often each was delivered, by its offset, in order."""
    done: set[int] = field(default_factory=set)
    behind: int | None = None
    """The offset behind an unbroken run of done ones; None before there is one."""
    committed: int | None = None

    def finish(self, offset: int) -> None:
        if offset in self.taken:
            self.done.add(offset)
        for first in list(self.taken):
            if first not in self.done:
                break
            self.done.remove(first)
            del self.taken[first]
            self.behind = first + 1


class Progress:
    """Safe to use from every thread: the library tells of a rebalance on one, the caller takes events on another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._partitions: dict[int, _Partition] = {}
        self._ready: deque[Delivery] = deque()
        self._attempts: dict[_Position, int] = {}

    def add(self, partition: int, records: Iterable[tuple[int, Event]]) -> None:
        """Holds events, each with its offset, until they are taken."""
        with self._lock:
            part = self._partitions.setdefault(partition, _Partition())
            for offset, event in records:
                attempt = part.taken[offset] = self._attempts.pop((partition, offset), 0) + 1
                self._ready.append(Delivery(event, f"{partition}/{offset}", attempt))

    def take(self, limit: int) -> list[Delivery]:
        """Returns at most `limit` of the events that are held, oldest first; they are the caller's now."""
        with self._lock:
            return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def finish(self, deliveries: Sequence[Delivery]) -> None:
        """Marks deliveries as done; those of partitions that are forgotten are passed over."""
        with self._lock:
            for delivery in deliveries:
                partition, offset = _parsed(delivery)
                if partition in self._partitions:
                    self._partitions[partition].finish(offset)

    def to_commit(self) -> dict[int, int]:
        """Returns by partition the offset up to which everything is done, where it is not committed yet."""
        with self._lock:
            return {
                number: part.behind
                for number, part in self._partitions.items()
                if part.behind is not None and part.behind != part.committed
            }

    def committed(self, offsets: Mapping[int, int]) -> None:
        """Notes what was committed."""
        with self._lock:
            for number, offset in offsets.items():
                if number in self._partitions:
                    self._partitions[number].committed = offset

    def last_committed(self) -> dict[int, int]:
        """Returns by partition what was committed last."""
        with self._lock:
            return {n: part.committed for n, part in self._partitions.items() if part.committed is not None}

    def forget(self, partitions: Collection[int] | None = None) -> None:
        """Drops partitions, or all: they are ours no more, and what was delivered of them comes again somewhere."""
        with self._lock:
            numbers = set(self._partitions) if partitions is None else set(partitions)
            for number in numbers:
                part = self._partitions.pop(number, None)
                for offset, attempt in part.taken.items() if part is not None else ():
                    self._attempts[number, offset] = attempt
            if len(self._attempts) > _MOST_ATTEMPTS:  # another consumer has them for good
                self._attempts.clear()
            self._ready = deque(delivery for delivery in self._ready if _parsed(delivery)[0] not in numbers)


def _parsed(delivery: Delivery) -> _Position:
    number, _, offset = delivery.position.partition("/")
    return int(number), int(offset)
