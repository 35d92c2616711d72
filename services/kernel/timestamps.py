"""Times as stores keep them, Unix nanoseconds in a signed 64-bit integer (1677 to 2262), and as messages carry them."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

_MIN, _MAX = -(2**63), 2**63 - 1
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799  # years 1 to 9999, as timestamp.proto says


def nanoseconds(timestamp: Timestamp) -> int:
    """Returns Unix nanoseconds; a time outside the 64 bits becomes the nearest one inside.

    Raises:
        ValueError: the message is no time: its nanos are not 0 to 999,999,999 or its year is not 1 to 9999.
    """
    if not (0 <= timestamp.nanos < 10**9 and _SECONDS_MIN <= timestamp.seconds <= _SECONDS_MAX):
        raise ValueError("not a timestamp")
    return min(max(timestamp.seconds * 10**9 + timestamp.nanos, _MIN), _MAX)


def timestamp(nanoseconds: int) -> Timestamp:
    """Returns the message for Unix nanoseconds."""
    seconds, nanos = divmod(nanoseconds, 10**9)
    return Timestamp(seconds=seconds, nanos=nanos)
