"""Fitting and calibrating heads. Needs PyTorch."""

import numpy as np
import pytest

from modelkit import heads
from modelkit.metrics import accuracy, expected_calibration_error


def clouds(rows: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit-length points around three directions."""
    centres = np.linalg.qr(np.random.default_rng(99).normal(size=(8, 3)))[0].T
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 3, rows)
    points = centres[targets] + generator.normal(0, noise, (rows, 8))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), targets


def test_a_separable_task_is_learnt() -> None:
    fitted = heads.choose(clouds(300, 0.1, 1), clouds(60, 0.1, 2), classes=3)
    assert fitted.validation_accuracy == 1.0


def test_temperature_undoes_exaggerated_logits() -> None:
    train, held = clouds(2000, 0.4, 3), clouds(2000, 0.4, 4)
    head = heads.fit(*train, classes=3, penalty=1e-4)
    loud = heads.Linear(head.weight * 5, head.bias * 5)
    temperature = heads.temperature_of(loud, *held)
    assert temperature == pytest.approx(5.0, rel=0.2)
    assert expected_calibration_error(loud.probabilities(held[0], temperature), held[1]) < 0.03


def test_outliers_lower_the_confidence_where_they_lie() -> None:
    points, targets = clouds(300, 0.1, 5)
    outside = -points[:100]
    plain = heads.fit(points, targets, 3, 1e-4)
    features = np.concatenate([points, outside])
    wary = heads.fit(features, np.append(targets, np.full(100, -1)), 3, 1e-4)
    assert wary.probabilities(outside).max(1).mean() < plain.probabilities(outside).max(1).mean()
    assert accuracy(wary.probabilities(points), targets) == 1.0


def test_a_good_trained_head_is_kept_when_no_refit_is_better() -> None:
    train, held = clouds(300, 0.1, 6), clouds(60, 0.1, 7)
    trained = heads.fit(*train, classes=3, penalty=1e-5)
    fitted = heads.choose(train, held, 3, trained)
    assert "jointly trained" in fitted.origin
