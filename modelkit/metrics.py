"""Accuracy and calibration of class probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

REVIEW_THRESHOLD = 0.7


def accuracy(probabilities: FloatArray, targets: IntArray) -> float:
    """Share of rows whose likeliest class is the right one."""
    return float((probabilities.argmax(axis=1) == targets).mean())


def expected_calibration_error(probabilities: FloatArray, targets: IntArray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equally wide bins of confidence (Guo et al. 2017), 0..1."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = 0.0
    for index in range(bins):
        inside = bin_of == index
        if inside.any():
            gap += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(gap)


def negative_log_likelihood(probabilities: FloatArray, targets: IntArray) -> float:
    """Mean of -ln p(right class)."""
    chosen = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def share_below(probabilities: FloatArray, threshold: float = REVIEW_THRESHOLD) -> float:
    """Share of rows whose confidence is below the threshold: those a person would see."""
    return float((probabilities.max(axis=1) < threshold).mean())
