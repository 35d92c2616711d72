"""Which texts go together in one call of the encoder.

A call has a fixed cost, so texts share it. Where the encoder reads the rows of a call one by one, any may; where it
reads them together, padded to the longest, a text joins only as long as the padding that it adds costs less than the
fixed cost that it saves: neighbours in length do, others do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What one call may hold. A single row is always taken, however long."""

    rows: int = 8
    tokens: int = 512
    """Padded size: rows times the longest row."""
    call_tokens: float = 0.0
    """The fixed cost of a call, told in tokens that the encoder could read instead; 0: padding costs nothing."""


def group_around(lengths: Sequence[int], index: int, rows: int, limits: GroupLimits) -> tuple[int, int]:
    """Returns the range [first, end) of `lengths`, sorted ascending, that goes with the row at `index`.

    Grows to the neighbour that adds less padding, up to `rows` and within `limits`, while that lowers what each row
    bears of the call's fixed cost and padding.
    """
    first, end = index, index + 1
    padding = 0
    while end - first < rows:
        # A longer row widens all others, a shorter one is widened itself.
        widest, count = lengths[end - 1], end - first
        longer = (lengths[end] - widest) * count if end < len(lengths) else None
        shorter = widest - lengths[first - 1] if first > 0 else None
        if longer is not None and (shorter is None or longer <= shorter):
            added, width, grown = longer, lengths[end], (first, end + 1)
        elif shorter is not None:
            added, width, grown = shorter, widest, (first - 1, end)
        else:
            break
        if width * (count + 1) > limits.tokens:
            break
        if limits.call_tokens and added * count > limits.call_tokens + padding:
            break
        padding += added
        first, end = grown
    return first, end
