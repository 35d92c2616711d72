"""Notices when the machine's clock jumps: the times of records follow it; their order and ids do not depend on it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

# Clocks are slewed by less than a thousandth; what differs by more between two looks was set.
_STEP_NS = 1_000_000_000

_log = logging.getLogger(__name__)


class ClockWatch:
    """Compares the clock with the one that only counts; call `look` about once a second."""

    def __init__(self, clock: Callable[[], int] = time.time_ns, counter: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._counter = counter
        self._offset = clock() - counter()
        self.jumps = 0
        """How often it was set since the start."""
        self.last_seconds = 0.0
        """By how much the last time; negative when it was set back."""

    def look(self) -> None:
        """Counts and logs a jump since the last look."""
        offset = self._clock() - self._counter()
        step, self._offset = offset - self._offset, offset
        if abs(step) > _STEP_NS:
            self.jumps += 1
            self.last_seconds = step / 1e9
            _log.warning("the clock jumped", extra={"seconds": round(self.last_seconds, 3)})
