"""How many events a consumer may put aside, so that it can't carry a whole topic off to the dead letters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """How many events may be put aside: a handful at any time, more where most are stored, else a trickle.

    It starts with `most` letters. Each event that is stored earns a share of one more, and so does time, so that a
    lone poison event always passes, and even a long row of them does not block its topic for ever. A consumer that
    refuses all it gets stops after `most`, and then puts one aside every `seconds_each`: a million events would last
    two years.
    """

    most: float = 100.0
    per_stored: float = 0.1
    seconds_each: float = 60.0
    clock: Callable[[], float] = time.monotonic
    left: float = -1.0
    """Letters that may be put aside now; negative: as many as `most`."""
    _since: float = 0.0

    def __post_init__(self) -> None:
        self.left = self.most if self.left < 0 else self.left
        self._since = self.clock()

    def earn(self, stored: int) -> None:
        """Adds what stored events, and the time since the last call, are worth."""
        now = self.clock()
        self.left = min(self.most, self.left + stored * self.per_stored + (now - self._since) / self.seconds_each)
        self._since = now

    def spend(self, wanted: int) -> int:
        """Returns how many of the wanted letters may be put aside, and takes them off."""
        granted = min(wanted, int(self.left))
        self.left -= granted
        return granted
