"""When a part that died is started again."""

from __future__ import annotations

from collections import deque


class Backoff:
    """The first restart comes at once, later ones within the same minute ever later: 0, 0.5, 1, 2, 4, then 8 seconds.

    More than `limit` restarts within a minute and the part counts as failing: it is still tried, but slowly.
    """

    WINDOW_SECONDS = 60.0
    LONGEST_SECONDS = 8.0

    def __init__(self, limit: int = 5) -> None:
        self._limit = limit
        self._recent: deque[float] = deque()

    def next(self, now: float) -> float:
        """Counts a restart at `now` (seconds, monotonic) and returns how many seconds to wait before it."""
        while self._recent and now - self._recent[0] >= self.WINDOW_SECONDS:
            self._recent.popleft()
        before = len(self._recent)
        self._recent.append(now)
        return 0.0 if before == 0 else min(self.LONGEST_SECONDS, 0.5 * 2.0 ** (before - 1))

    @property
    def failing(self) -> bool:
        """Whether there were too many restarts within the minute before the last one."""
        return len(self._recent) > self._limit
