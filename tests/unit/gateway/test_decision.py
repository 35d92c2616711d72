from __future__ import annotations

import struct

import pytest

from services.gateway.decision import ConfidenceThreshold


def as_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def test_below_the_threshold_is_doubtful_and_at_it_is_not() -> None:
    threshold = ConfidenceThreshold(0.7)
    assert threshold.is_doubtful(as_float32(0.6999))
    assert not threshold.is_doubtful(as_float32(0.7))
    assert not threshold.is_doubtful(1.0)


def test_what_is_not_a_number_is_doubtful() -> None:
    assert ConfidenceThreshold(0.0).is_doubtful(float("nan"))


def test_zero_sends_nothing_to_a_person() -> None:
    assert not ConfidenceThreshold(0.0).is_doubtful(0.0)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_probability(value: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        ConfidenceThreshold(value)
