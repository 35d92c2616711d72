"""The least that classifying a text costs: tokeniser, session and heads in one loop, one process, one thread.

    python -m benchmarks.bare MODELS

answers each line on standard input, `{"seconds": s, "rows": n}`, with a line on standard output, `{"texts", "seconds",
"cpu_seconds"}`. `rows` is how many texts of a window of 32 share a call of the encoder after sorting by length; 1 is
every text by itself, as it comes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.texts import Text, texts
from services.classifier.bundle import Catalogue, Encoder, FloatArray, IntArray, load_catalogue

WINDOW = 32


def classify(
    catalogue: Catalogue, run: Callable[[list[IntArray]], FloatArray], window: Sequence[Text], rows: int
) -> int:
    """Classifies a window of texts and returns how many it was."""
    (encoder,) = catalogue.encoders
    ids = encoder.tokenizer.encode_batch([text.text for text in window])
    order = sorted(range(len(ids)), key=lambda place: len(ids[place])) if rows > 1 else range(len(ids))
    embeddings = np.empty((len(ids), encoder.dimension), np.float32)
    for at in range(0, len(ids), rows):
        group = list(order[at : at + rows])
        embeddings[group] = run([ids[place] for place in group])
    heads = {head.name: head for head in catalogue.heads}
    by_model: dict[str, list[int]] = {}
    for place, text in enumerate(window):
        by_model.setdefault(text.model, []).append(place)
    for model, places in by_model.items():
        probabilities = heads[model].classify(embeddings[places])
        best = probabilities.argmax(axis=1)
        [(heads[model].labels[b], p[b]) for b, p in zip(best.tolist(), probabilities, strict=True)]
    return len(window)


def session(encoder: Encoder) -> Callable[[list[IntArray]], FloatArray]:
    """Returns what encodes rows of token ids, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    loaded = onnxruntime.InferenceSession(str(encoder.model_path), options, providers=["CPUExecutionProvider"])
    ids_name, mask_name = encoder.manifest.inputs
    output = [encoder.manifest.output]

    def run(rows: list[IntArray]) -> FloatArray:
        width = max(map(len, rows))
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        embeddings: FloatArray = loaded.run(output, {ids_name: ids, mask_name: mask})[0]
        return embeddings

    return run


def main() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    catalogue = load_catalogue(Path(sys.argv[1]))
    run = session(catalogue.encoders[-1])
    corpus = texts()
    at = os.getpid() % len(corpus)  # the processes do not go through the texts in step
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        start, start_cpu, count = time.monotonic(), time.process_time(), 0
        while time.monotonic() - start < order["seconds"]:
            window = [corpus[(at + place) % len(corpus)] for place in range(WINDOW)]
            at += WINDOW
            count += classify(catalogue, run, window, order["rows"])
        took = {"seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - start_cpu}
        print(json.dumps({"texts": count, **took}), flush=True)


if __name__ == "__main__":
    main()
