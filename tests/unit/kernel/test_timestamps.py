import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel.timestamps import nanoseconds, timestamp


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_there_and_back(value: int) -> None:
    assert nanoseconds(timestamp(value)) == value


@pytest.mark.parametrize(("seconds", "nearest"), [(-62_135_596_800, -(2**63)), (253_402_300_799, 2**63 - 1)])
def test_times_outside_64_bits_become_the_nearest(seconds: int, nearest: int) -> None:
    assert nanoseconds(Timestamp(seconds=seconds)) == nearest


@pytest.mark.parametrize(("seconds", "nanos"), [(0, -1), (0, 10**9), (-62_135_596_801, 0), (253_402_300_800, 0)])
def test_what_is_no_time_is_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(ValueError, match="not a timestamp"):
        nanoseconds(Timestamp(seconds=seconds, nanos=nanos))
