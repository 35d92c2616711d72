"""Accuracy, calibration error and the baseline."""

import numpy as np
import pytest

from modelkit import baseline
from modelkit.evaluate import Result
from modelkit.metrics import accuracy, expected_calibration_error, negative_log_likelihood, share_below


def test_accuracy_and_share_below() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.65, 0.35], [0.2, 0.8]], dtype=np.float32)
    targets = np.array([0, 1, 1, 1])
    assert accuracy(probabilities, targets) == 0.75
    assert share_below(probabilities) == 0.5
    assert share_below(probabilities, 0.5) == 0.0


def test_a_calibrated_model_has_no_calibration_error() -> None:
    probabilities = np.array([[0.75, 0.25]] * 4, dtype=np.float32)
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1])) == pytest.approx(0.0, abs=1e-6)
    assert expected_calibration_error(probabilities, np.array([0, 1, 1, 1])) == pytest.approx(0.5)


def test_calibration_error_weighs_bins_by_their_rows() -> None:
    probabilities = np.array([[1.0, 0.0]] * 3 + [[0.6, 0.4]], dtype=np.float32)
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1])) == pytest.approx(0.6 / 4)


def test_negative_log_likelihood_of_a_sure_mistake_is_finite() -> None:
    assert negative_log_likelihood(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1])) > 20


def test_the_baseline_learns_words_of_both_languages() -> None:
    train = ["lost my card", "card is lost", "what is my balance", "show the balance", "银行卡丢了", "余额是多少"]
    targets = np.array([0, 0, 1, 1, 0, 1])
    test = ["my card got lost", "balance please", "卡丢了", "余额"]
    assert baseline.accuracy(train, targets, test, np.array([0, 1, 0, 1])) == 1.0


def result(model: str, accuracy_: float, rival: float) -> Result:
    return Result(model, "1.0.0", 1000, accuracy_, rival, 0.01, 0.1, 0, None, 0, 1.0)


@pytest.mark.parametrize(
    ("model", "accuracy_", "rival", "holds"),
    [
        ("banking", 0.925, 0.915, True),
        ("banking", 0.924, 0.900, False),
        ("intent", 0.96, 0.955, False),
        ("intent", 0.949, 0.90, False),
        ("sentiment", 0.86, 0.85, True),
        ("triage", 0.99, 0.99, True),
        ("triage", 0.98, 0.99, False),
    ],
)
def test_promises_are_checked(model: str, accuracy_: float, rival: float, holds: bool) -> None:
    assert (not result(model, accuracy_, rival).failures()) is holds
