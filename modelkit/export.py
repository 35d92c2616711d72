"""The encoder as an ONNX graph, written node by node with ONNX Runtime's fused operators.

Inputs `input_ids` and `attention_mask`, int64 [B, L] with L at most 512; output `embedding`, float32 [B, H] of
length 1, the mean over the unmasked tokens. Position ids are made inside.

Precision of the matrices (everything else stays float32):

- FP32: as trained, for comparison.
- DYNAMIC: int8 weights with one scale a column; activations are quantised per tensor while running, so a text's
  embedding depends a little on what it is batched with.
- BLOCKS: 8-bit weights with one scale for every 32 numbers; activations are quantised per row and block, so a text's
  embedding does not depend on its batch.

The embedding table of the two INT8 forms is int8 with one scale a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelkit.architecture import Architecture

FloatArray = npt.NDArray[np.float32]
MS = "com.microsoft"
BLOCK = 32
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "embedding"


class Precision(StrEnum):
    """How the matrices are stored and multiplied."""

    FP32 = "fp32"
    DYNAMIC = "dynamic"
    BLOCKS = "blocks"


def quantise_rows(table: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Symmetric int8 with one scale a row: returns int8 [R, C] and scales [R, 1], value = int8 * scale."""
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / np.float32(127)
    return np.rint(table / scales).astype(np.int8), scales


def quantise_blocks(weight: FloatArray, block: int = BLOCK) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """8-bit blocks along the input of `weight` [N, K]: uint8 [N, K/block, block] around 128, scales [N, K/block].

    value = (uint8 - 128) * scale. Raises ValueError when the block does not divide K.
    """
    outputs, inputs = weight.shape
    if inputs % block:
        raise ValueError(f"{inputs} inputs are not a multiple of {block}")
    grouped = weight.reshape(-1, block)
    levels, scales = quantise_rows(grouped)
    stored = (levels.astype(np.int16) + 128).astype(np.uint8)
    return stored.reshape(outputs, inputs // block, block), scales.reshape(outputs, inputs // block)


class _Graph:
    """Collects nodes and weights; every method returns the name of its output."""

    def __init__(self, precision: Precision, divisors: Mapping[str, FloatArray]) -> None:
        self.precision = precision
        self.divisors = divisors
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: npt.NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], output, domain=domain, **attributes))
        return output

    def linear(self, of: str, name: str, weight: FloatArray, bias: FloatArray | None) -> str:
        """x W^T + b for `weight` [N, K], in the chosen precision."""
        outputs, inputs = weight.shape
        if self.precision is Precision.DYNAMIC and name in self.divisors:
            divisor = self.divisors[name]
            of = self.node("Mul", [of, self.weight(f"{name}.smooth", 1 / divisor)], f"{name}.smoothed")
            weight = weight * divisor
        added = [] if bias is None else [self.weight(f"{name}.bias", bias)]
        if self.precision is Precision.FP32:
            product = self.node("MatMul", [of, self.weight(f"{name}.weight", weight.T)], f"{name}.product")
            return self.node("Add", [product, *added], f"{name}.out") if added else product
        if self.precision is Precision.DYNAMIC:
            # 7 bits: without VNNI, AVX2 adds pairs of 8-bit products in 16 bits, which 8-bit weights overflow.
            scales = np.maximum(np.abs(weight).max(axis=1), 1e-12).astype(np.float32) / np.float32(63)
            levels = np.rint(weight / scales[:, None]).astype(np.int8)
            stored = [self.weight(f"{name}.weight", levels.T), self.weight(f"{name}.scale", scales)]
            return self.node("DynamicQuantizeMatMul", [of, *stored, "", *added], f"{name}.out", MS)
        blocks, block_scales = quantise_blocks(weight)
        stored = [self.weight(f"{name}.weight", blocks), self.weight(f"{name}.scale", block_scales)]
        sizes = {"K": inputs, "N": outputs, "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
        return self.node("MatMulNBits", [of, *stored, "", "", *added], f"{name}.out", MS, **sizes)

    def rows(self, ids: str, name: str, table: FloatArray) -> str:
        """Rows of an embedding table, int8 unless the precision is FP32."""
        if self.precision is Precision.FP32:
            return self.node("Gather", [self.weight(name, table), ids], f"{name}.rows")
        levels, scales = quantise_rows(table)
        picked = self.node("Gather", [self.weight(name, levels), ids], f"{name}.levels")
        wide = self.node("Cast", [picked], f"{name}.wide", to=TensorProto.FLOAT)
        scale = self.node("Gather", [self.weight(f"{name}.scale", scales), ids], f"{name}.scales")
        return self.node("Mul", [wide, scale], f"{name}.rows")


def build(
    shape: Architecture,
    state: Mapping[str, FloatArray],
    precision: Precision,
    divisors: Mapping[str, FloatArray] | None = None,
) -> onnx.ModelProto:
    """The graph of an encoder's weights, named as in its state dict.

    `divisors` smooth the inputs of the linear layers they name before DYNAMIC quantisation.
    """
    graph = _Graph(precision, divisors or {})
    for name, value in (("zero", 0), ("one", 1)):
        graph.weight(name, np.array([value], dtype=np.int64))

    def norm(of: str, skip: str, name: str, output: str) -> str:
        scale = graph.weight(f"{name}.weight", state[f"{name}.weight"])
        shift = graph.weight(f"{name}.bias", state[f"{name}.bias"])
        return graph.node("SkipLayerNormalization", [of, skip, scale, shift], output, MS, epsilon=shape.epsilon)

    words = graph.rows(INPUTS[0], "words", state["words.weight"])
    length = graph.node("Shape", [INPUTS[0]], "length", start=1, end=2)
    graph.weight("positions", state["positions.weight"])
    places = graph.node("Slice", ["positions", "zero", length, "zero"], "places")
    # The skip input of SkipLayerNormalization may be [1, L, H]: it is added to every text.
    places = graph.node("Unsqueeze", [places, "zero"], "places.batch")
    hidden = norm(words, places, "embedding_norm", "embedded")
    visible = graph.node("Cast", [INPUTS[1]], "visible", to=TensorProto.INT32)

    for i in range(shape.layers):
        name = f"layers.{i}"
        # The bias of q, k and v is added inside the attention operator.
        joined = graph.linear(hidden, f"{name}.qkv", state[f"{name}.qkv.weight"], None)
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        graph.nodes.append(helper.make_node("Split", [joined], parts, f"{name}.split", axis=2, num_outputs=3))
        bias = graph.weight(f"{name}.qkv.bias", state[f"{name}.qkv.bias"])
        context = graph.node(
            "MultiHeadAttention", [*parts, bias, visible], f"{name}.context", MS, num_heads=shape.heads
        )
        attended = graph.linear(
            context,
            f"{name}.attention_out",
            state[f"{name}.attention_out.weight"],
            state[f"{name}.attention_out.bias"],
        )
        hidden = norm(attended, hidden, f"{name}.attention_norm", f"{name}.attended")
        wide = graph.linear(hidden, f"{name}.up", state[f"{name}.up.weight"], None)
        bias = graph.weight(f"{name}.up.bias", state[f"{name}.up.bias"])
        active = graph.node("BiasGelu", [wide, bias], f"{name}.active", MS)
        narrow = graph.linear(active, f"{name}.down", state[f"{name}.down.weight"], state[f"{name}.down.bias"])
        hidden = norm(narrow, hidden, f"{name}.output_norm", f"{name}.output")

    # Mean pooling: the division by the token count disappears in the normalisation that follows.
    mask = graph.node("Cast", [INPUTS[1]], "mask", to=TensorProto.FLOAT)
    row = graph.node("Unsqueeze", [mask, "one"], "mask.row")
    total = graph.node("Squeeze", [graph.node("MatMul", [row, hidden], "total.row"), "one"], "total")
    graph.node("LpNormalization", [total], OUTPUT, axis=1, p=2)

    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in INPUTS]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", shape.hidden])
    built = helper.make_graph(graph.nodes, "encoder", inputs, [output], graph.weights)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MS, 1)]
    model = helper.make_model(built, opset_imports=opsets, producer_name="assay-modelkit", ir_version=9)
    return model


def serialise(model: onnx.ModelProto) -> bytes:
    """The file's bytes; the same weights give the same bytes."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data
