"""Writes small E5S1 images: the format's other half, for tests."""

import struct

import numpy as np

PIECES = (
    *(("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)),
    *(("▁", -3.0), (",", -3.5), ("a", -4.0), ("▁card", -5.0), ("s", -5.5), ("é", -6.0)),
    *(("的", -4.5), ("卡", -6.5), ("银行", -7.0), ("▁rare", -12.0), ("ка", -5.0), ("мир", -8.0), ("ก", -6.0)),
)
HIDDEN, LAYERS, HEADS, FEED_FORWARD, POSITIONS = 32, 1, 2, 64, 8


def q4_0(values: np.ndarray) -> bytes:
    """Blocks of 32 numbers whose scale is their largest magnitude over 7."""
    raw = b""
    for block in values.astype(np.float32).reshape(-1, 32):
        scale = np.float16(max(float(np.abs(block).max()) / 7, 1e-4))
        nibbles = np.clip(np.rint(block / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
        raw += scale.tobytes() + (nibbles[:16] | nibbles[16:] << 4).tobytes()
    return raw


def tensor_shapes() -> dict[str, int]:
    """Elements of every tensor of the small model; matrices end in `.w` or are the word embeddings."""
    shapes = {"emb.word": len(PIECES) * HIDDEN, "emb.pos": POSITIONS * HIDDEN, "emb.type": 2 * HIDDEN}
    shapes |= {"emb.ln.w": HIDDEN, "emb.ln.b": HIDDEN}
    for i in range(LAYERS):
        for name in ("q", "k", "v", "ao"):
            shapes |= {f"l{i}.{name}.w": HIDDEN * HIDDEN, f"l{i}.{name}.b": HIDDEN}
        shapes |= {f"l{i}.fi.w": HIDDEN * FEED_FORWARD, f"l{i}.fi.b": FEED_FORWARD}
        shapes |= {f"l{i}.fo.w": HIDDEN * FEED_FORWARD, f"l{i}.fo.b": HIDDEN}
        shapes |= {f"l{i}.{norm}.{part}": HIDDEN for norm in ("aln", "oln") for part in "wb"}
    return shapes


def image(seed: int = 0) -> tuple[bytes, dict[str, np.ndarray]]:
    """An image with random weights, and the numbers that were written."""
    generator = np.random.default_rng(seed)
    blob = "".join(piece for piece, _ in PIECES).encode()
    offsets = np.cumsum([0, *(len(piece.encode()) for piece, _ in PIECES)]).astype("<u4")
    scores = np.array([score for _, score in PIECES], dtype="<f4")
    head = b"E5S1" + struct.pack("<I", 1)
    head += struct.pack("<7i", HIDDEN, LAYERS, HEADS, FEED_FORWARD, len(PIECES), POSITIONS, 2)
    head += struct.pack("<fi", 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob)) + offsets.tobytes() + scores.tobytes() + blob
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0xFF01, 1, 0x21)

    written: dict[str, np.ndarray] = {}
    entries, bodies = [], []
    for name, count in tensor_shapes().items():
        values = generator.normal(size=count).astype(np.float32)
        quantised = name == "emb.word" or (name.endswith(".w") and "ln" not in name)
        bodies.append(q4_0(values) if quantised else values.tobytes())
        entries.append((name.encode(), int(quantised), count, len(bodies[-1])))
        written[name] = values
    at = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 16 for name, *_ in entries)
    directory = struct.pack("<i", len(entries))
    for name, dtype, count, size in entries:
        directory += struct.pack("<H", len(name)) + name + struct.pack("<BIQQ", dtype, count, at, size)
        at += size
    return head + directory + b"".join(bodies), written
