"""Smoothing before quantisation: outlying channels of the activations are scaled down, their weights scaled up.

A dynamic quantiser has one scale for a whole activation tensor, so a few channels that are ten times as large as the
others leave those little resolution. x W^T = (x / s) (W s)^T for any s > 0; with s = peak(x)^a / peak(W)^(1 - a) for
each input channel the difficulty is shared (SmoothQuant, Xiao et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from modelkit.encoder import Encoder
from modelkit.train import pad

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

STRENGTH = 0.75
ROWS = 32


def activation_peaks(encoder: Encoder, rows: Sequence[IntArray]) -> dict[str, FloatArray]:
    """Largest magnitude of each input channel of every linear layer over the rows, by the layer's name."""
    peaks: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest = inputs[0].detach().abs().flatten(0, -2).amax(0)
            peaks[name] = torch.maximum(peaks[name], largest) if name in peaks else largest

        return hook

    linears = [(name, module) for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_pre_hook(record(name)) for name, module in linears]
    try:
        ordered = sorted(rows, key=len)
        with torch.no_grad():
            for at in range(0, len(ordered), ROWS):
                ids, mask = pad(ordered[at : at + ROWS])
                encoder(torch.from_numpy(ids), torch.from_numpy(mask))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: value.numpy() for name, value in peaks.items()}


def divisors(
    peaks: Mapping[str, FloatArray], state: Mapping[str, FloatArray], strength: float = STRENGTH
) -> dict[str, FloatArray]:
    """The s of each linear layer's input channels, with geometric mean 1."""
    result = {}
    for name, peak in peaks.items():
        weight = np.abs(state[f"{name}.weight"]).max(axis=0)
        scale = np.maximum(peak, 1e-5) ** strength / np.maximum(weight, 1e-5) ** (1 - strength)
        result[name] = (scale / np.exp(np.log(scale).mean())).astype(np.float32)
    return result
