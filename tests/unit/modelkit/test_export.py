"""The ONNX graph computes what a BERT computes, in each precision."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest

from modelkit import export
from modelkit.architecture import Architecture
from modelkit.export import Precision

SHAPE = Architecture(vocabulary=20, hidden=64, layers=2, heads=2, feed_forward=128, positions=16, epsilon=1e-12)


def random_state(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    h, f = SHAPE.hidden, SHAPE.feed_forward
    shapes = {"words.weight": (SHAPE.vocabulary, h), "positions.weight": (SHAPE.positions, h)}
    norms = ["embedding_norm"]
    for i in range(SHAPE.layers):
        at = f"layers.{i}."
        shapes |= {at + "qkv.weight": (3 * h, h), at + "qkv.bias": (3 * h,)}
        shapes |= {at + "attention_out.weight": (h, h), at + "attention_out.bias": (h,)}
        shapes |= {at + "up.weight": (f, h), at + "up.bias": (f,), at + "down.weight": (h, f), at + "down.bias": (h,)}
        norms += [at + "attention_norm", at + "output_norm"]
    state = {name: generator.normal(0, 0.1, shape) for name, shape in shapes.items()}
    for name in norms:
        state |= {f"{name}.weight": 1 + generator.normal(0, 0.1, h), f"{name}.bias": generator.normal(0, 0.1, h)}
    return {name: value.astype(np.float32) for name, value in state.items()}


def reference(state: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """One unpadded text in float64, as Devlin et al. 2018 describe it."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + SHAPE.epsilon)
        return unit * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ state[f"{name}.weight"].T.astype(np.float64) + state[f"{name}.bias"]

    x = norm(state["words.weight"][ids].astype(np.float64) + state["positions.weight"][: len(ids)], "embedding_norm")
    width = SHAPE.hidden // SHAPE.heads
    for i in range(SHAPE.layers):
        at = f"layers.{i}."
        q, k, v = np.split(linear(x, at + "qkv"), 3, axis=-1)
        context = []
        for head in range(SHAPE.heads):
            part = slice(head * width, (head + 1) * width)
            scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(width))
            context.append(scores / scores.sum(-1, keepdims=True) @ v[:, part])
        x = norm(x + linear(np.concatenate(context, axis=-1), at + "attention_out"), at + "attention_norm")
        wide = linear(x, at + "up")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(x + linear(wide, at + "down"), at + "output_norm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def session(precision: Precision) -> onnxruntime.InferenceSession:
    data = export.serialise(export.build(SHAPE, random_state(), precision))
    onnx.checker.check_model(onnx.load_from_string(data), full_check=False)
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


TEXTS = [[0, 5, 6, 2], [0, 7, 2], [0, 9, 10, 11, 12, 13, 2], [0, 2], list(range(16))]


def run(graph: onnxruntime.InferenceSession, texts: list[list[int]]) -> np.ndarray:
    ids = np.ones((len(texts), max(map(len, texts))), dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, text in enumerate(texts):
        ids[i, : len(text)] = text
        mask[i, : len(text)] = 1
    return graph.run([export.OUTPUT], dict(zip(export.INPUTS, (ids, mask), strict=True)))[0]


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99999), ("dynamic", 0.985), ("blocks", 0.9995)])
def test_the_graph_agrees_with_the_reference(precision: str, least: float) -> None:
    got = run(session(Precision(precision)), TEXTS)
    assert got.dtype == np.float32
    assert np.linalg.norm(got, axis=1) == pytest.approx(1.0, abs=1e-5)
    wanted = np.stack([reference(random_state(), text) for text in TEXTS])
    assert (got * wanted).sum(1).min() > least


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999999), ("dynamic", 0.985), ("blocks", 0.99999)])
def test_padding_and_batch_mates_hardly_matter(precision: str, least: float) -> None:
    graph = session(Precision(precision))
    together = run(graph, TEXTS)
    alone = np.concatenate([run(graph, [text]) for text in TEXTS])
    assert (together * alone).sum(1).min() > least


def test_the_same_weights_give_the_same_bytes() -> None:
    first, second = (export.serialise(export.build(SHAPE, random_state(), Precision.DYNAMIC)) for _ in range(2))
    assert first == second


def test_row_quantisation_is_within_half_a_step() -> None:
    table = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float32)
    table[2] = 0.0
    levels, scales = export.quantise_rows(table)
    assert levels.dtype == np.int8
    assert np.all(np.abs(levels * scales - table) <= scales / 2 + 1e-7)


def test_blocks_keep_the_layout_of_the_operator() -> None:
    weight = np.random.default_rng(2).normal(size=(3, 64)).astype(np.float32)
    stored, scales = export.quantise_blocks(weight)
    assert stored.shape == (3, 2, 32)
    restored = (stored.astype(np.float32) - 128) * scales[..., None]
    np.testing.assert_allclose(restored.reshape(3, 64), weight, atol=float(scales.max()) / 2 + 1e-6)
    with pytest.raises(ValueError, match="not a multiple"):
        export.quantise_blocks(np.zeros((2, 40), dtype=np.float32))
