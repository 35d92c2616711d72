"""The encoder as a plain PyTorch BERT: twelve post-norm layers, mean pooling, unit-length embedding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from modelkit.architecture import Architecture
from modelkit.e5s1 import Source

FloatArray = npt.NDArray[np.float32]


class Layer(nn.Module):  # type: ignore[misc]
    """Self-attention and feed-forward, each followed by dropout, residual and layer norm."""

    def __init__(self, shape: Architecture, dropout: float) -> None:
        super().__init__()
        self.heads = shape.heads
        self.dropout = dropout
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.attention_out = nn.Linear(shape.hidden, shape.hidden)
        self.attention_norm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.up = nn.Linear(shape.hidden, shape.feed_forward)
        self.down = nn.Linear(shape.feed_forward, shape.hidden)
        self.output_norm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)

    def forward(self, hidden: Tensor, visible: Tensor | None) -> Tensor:
        """`hidden` [B, L, H]; `visible` bool [B, 1, 1, L], True where a token may be attended to."""
        batch, length, width = hidden.shape
        query, key, value = (
            self.qkv(hidden).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        context = context.transpose(1, 2).reshape(batch, length, width)
        attended = functional.dropout(self.attention_out(context), self.dropout, self.training)
        hidden = self.attention_norm(hidden + attended)
        expanded = functional.gelu(self.up(hidden))
        projected = functional.dropout(self.down(expanded), self.dropout, self.training)
        normed: Tensor = self.output_norm(hidden + projected)
        return normed


class Encoder(nn.Module):  # type: ignore[misc]
    """Token ids in, one unit-length embedding a text out."""

    def __init__(self, shape: Architecture, dropout: float = 0.1) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = dropout
        self.words = nn.Embedding(shape.vocabulary, shape.hidden)
        self.positions = nn.Embedding(shape.positions, shape.hidden)
        self.embedding_norm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.layers = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))

    def set_dropout(self, probability: float) -> None:
        """Change the probability everywhere."""
        self.dropout = probability
        for layer in self.layers:
            layer.dropout = probability

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`ids` int64 [B, L], `mask` bool [B, L]; returns float32 [B, H] of length 1."""
        hidden = self.words(ids) + self.positions.weight[: ids.shape[1]]
        hidden = functional.dropout(self.embedding_norm(hidden), self.dropout, self.training)
        # An unpadded batch needs no mask, and attention without one is faster.
        visible = None if bool(mask.all()) else mask[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, visible)
        weights = mask.to(hidden.dtype).unsqueeze(-1)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        return functional.normalize(pooled, dim=-1)


def from_source(source: Source, kept: npt.NDArray[np.int64], dropout: float = 0.1) -> Encoder:
    """The pretrained encoder with the kept rows of its embedding table."""
    sizes = source.dimensions
    shape = Architecture(
        vocabulary=len(kept),
        hidden=sizes.hidden,
        layers=sizes.layers,
        heads=sizes.heads,
        feed_forward=sizes.feed_forward,
        positions=sizes.positions,
        epsilon=sizes.epsilon,
    )
    encoder = Encoder(shape, dropout)
    encoder.load_state_dict({name: torch.from_numpy(v) for name, v in _state(source, kept).items()})
    return encoder


def _state(source: Source, kept: npt.NDArray[np.int64]) -> Mapping[str, FloatArray]:
    hidden, feed_forward = source.dimensions.hidden, source.dimensions.feed_forward
    tensors = source.tensors
    # Token type 0 is the only one ever used: it is a constant, so it moves into the positions.
    state = {
        "words.weight": tensors["emb.word"].reshape(-1, hidden)[kept],
        "positions.weight": tensors["emb.pos"].reshape(-1, hidden) + tensors["emb.type"].reshape(-1, hidden)[0],
        "embedding_norm.weight": tensors["emb.ln.w"],
        "embedding_norm.bias": tensors["emb.ln.b"],
    }
    for i in range(source.dimensions.layers):
        into, of = f"layers.{i}.", f"l{i}."
        state[into + "qkv.weight"] = np.concatenate([tensors[f"{of}{x}.w"].reshape(hidden, hidden) for x in "qkv"])
        state[into + "qkv.bias"] = np.concatenate([tensors[f"{of}{x}.b"] for x in "qkv"])
        state[into + "attention_out.weight"] = tensors[of + "ao.w"].reshape(hidden, hidden)
        state[into + "attention_out.bias"] = tensors[of + "ao.b"]
        state[into + "attention_norm.weight"] = tensors[of + "aln.w"]
        state[into + "attention_norm.bias"] = tensors[of + "aln.b"]
        state[into + "up.weight"] = tensors[of + "fi.w"].reshape(feed_forward, hidden)
        state[into + "up.bias"] = tensors[of + "fi.b"]
        state[into + "down.weight"] = tensors[of + "fo.w"].reshape(hidden, feed_forward)
        state[into + "down.bias"] = tensors[of + "fo.b"]
        state[into + "output_norm.weight"] = tensors[of + "oln.w"]
        state[into + "output_norm.bias"] = tensors[of + "oln.b"]
    return state
