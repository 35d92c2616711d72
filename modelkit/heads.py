"""Heads: a softmax regression on the INT8 embeddings, chosen and calibrated on validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from modelkit.metrics import accuracy, expected_calibration_error, negative_log_likelihood

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

SCALE = 12.0
PENALTIES = (1e-5, 1e-4, 1e-3)


@dataclass(frozen=True)
class Linear:
    """Logits are `weight` e + `bias` for a unit-length embedding e; weight [C, H], bias [C]."""

    weight: FloatArray
    bias: FloatArray

    def probabilities(self, embeddings: FloatArray, temperature: float = 1.0) -> FloatArray:
        """softmax((W e + b) / T), float32 [n, C]."""
        logits = (embeddings @ self.weight.T + self.bias) / np.float32(temperature)
        logits = np.exp(logits - logits.max(axis=1, keepdims=True))
        result: FloatArray = logits / logits.sum(axis=1, keepdims=True)
        return result


@dataclass(frozen=True)
class Fitted:
    """A head with its temperature, where it comes from, and how it does on validation rows."""

    head: Linear
    temperature: float
    origin: str
    validation_accuracy: float
    validation_ece: float


def fit(embeddings: FloatArray, targets: IntArray, classes: int, penalty: float, start: Linear | None = None) -> Linear:
    """Softmax regression by L-BFGS. A target of -1 asks for the same probability of every class.

    The penalty is on the distance to `start`, or to zero without one: a jointly trained head is only corrected.
    """
    features = torch.from_numpy(embeddings * np.float32(SCALE))
    wanted = torch.zeros(len(targets), classes)
    inside = torch.from_numpy(np.flatnonzero(targets >= 0))
    wanted[inside, torch.from_numpy(targets[targets >= 0])] = 1.0
    wanted[torch.from_numpy(targets < 0)] = 1.0 / classes
    anchor = torch.zeros(classes, features.shape[1])
    shift = torch.zeros(classes)
    if start is not None:
        anchor, shift = torch.from_numpy(start.weight / np.float32(SCALE)), torch.from_numpy(start.bias)
    weight = anchor.clone().requires_grad_()
    bias = shift.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=150, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = functional.cross_entropy(features @ weight.T + bias, wanted)
        value = value + penalty * (weight - anchor).square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return Linear((weight.detach() * SCALE).numpy(), bias.detach().numpy())


def temperature_of(head: Linear, embeddings: FloatArray, targets: IntArray) -> float:
    """The temperature with the least negative log-likelihood on held-out rows: golden section over ln T."""

    def cost(log_temperature: float) -> float:
        return negative_log_likelihood(head.probabilities(embeddings, float(np.exp(log_temperature))), targets)

    ratio = (5**0.5 - 1) / 2
    low, high = np.log(0.05), np.log(20.0)
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if cost(left) < cost(right) else (left, high)
    return round(float(np.exp((low + high) / 2)), 4)


def choose(
    train: tuple[FloatArray, IntArray],
    validation: tuple[FloatArray, IntArray],
    classes: int,
    trained: Linear | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> Fitted:
    """The best on validation of the jointly trained head and refits of it; calibrated on the same rows.

    Best is the highest accuracy; a tie goes to the smaller negative log-likelihood after calibration.
    """
    candidates = [] if trained is None else [("jointly trained", trained)]
    for penalty in penalties:
        origin = f"softmax regression, penalty {penalty:g}"
        if trained is not None:
            candidates.append((f"jointly trained, corrected by {origin}", fit(*train, classes, penalty, trained)))
        else:
            candidates.append((origin, fit(*train, classes, penalty)))
    rated: list[tuple[tuple[float, float], Fitted]] = []
    for origin, head in candidates:
        temperature = temperature_of(head, *validation)
        probabilities = head.probabilities(validation[0], temperature)
        hits = accuracy(probabilities, validation[1])
        error = expected_calibration_error(probabilities, validation[1])
        loss = negative_log_likelihood(probabilities, validation[1])
        rated.append(((hits, -loss), Fitted(head, temperature, origin, hits, error)))
    return max(rated, key=lambda pair: pair[0])[1]
