"""Calendar months in UTC, by which entries are kept together. Times are Unix nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """One month."""

    year: int
    month: int
    """1 to 12."""

    @classmethod
    def of(cls, time: int) -> Month:
        """Returns the month that a time is in."""
        when = datetime.fromtimestamp(time // 10**9, UTC)
        return cls(when.year, when.month)

    @property
    def start(self) -> int:
        """Its first instant."""
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp()) * 10**9

    @property
    def end(self) -> int:
        """The instant behind its last."""
        return self.next.start

    @property
    def next(self) -> Month:
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"
