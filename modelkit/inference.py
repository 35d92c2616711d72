"""The shipped encoder on this machine: ONNX Runtime, one text a run, as it is served. Needs no torch.

Dynamic INT8 takes its ranges over all rows of a run, so rows that ran together would be embedded a little differently
from how the server embeds them, one by one; several threads make up for the time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from services.classifier.bundle import Tokenizer

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Progress = Callable[[int], None]


def _nothing(rows: int) -> None:
    """Progress nobody watches."""


class OnnxEncoder:
    """An encoder session with its tokenizer. `threads` 0 means one a core."""

    def __init__(self, model: Path, tokenizer: Tokenizer, max_tokens: int, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._threads = threads or os.cpu_count() or 1
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens

    def token_ids(self, texts: Sequence[str]) -> list[IntArray]:
        """Exact token ids of each text, however long."""
        return self._tokenizer.encode_batch(texts)

    def embed(self, texts: Sequence[str], progress: Progress = _nothing) -> FloatArray:
        """Embeddings [n, H] in the order of `texts`; a text beyond `max_tokens` is cut, its end token kept."""
        rows = self.token_ids(texts)
        return self.embed_ids([self._cut(row) for row in rows], progress)

    def embed_ids(self, rows: Sequence[IntArray], progress: Progress = _nothing) -> FloatArray:
        """Embeddings [n, H] of token ids; `progress` is called with the number of rows just done."""
        parts: list[FloatArray] = []
        # Running releases the interpreter's lock, so threads of ours keep the cores busy.
        with ThreadPoolExecutor(self._threads) as pool:
            for part in pool.map(lambda row: self.run([row]), rows):
                parts.append(part)
                progress(1)
        return np.concatenate(parts)

    def _cut(self, row: IntArray) -> IntArray:
        return row if len(row) <= self.max_tokens else np.append(row[: self.max_tokens - 1], row[-1])

    def run(self, rows: Sequence[IntArray]) -> FloatArray:
        """Embeddings [B, H] of rows run together, padded to the longest."""
        ids = np.ones((len(rows), max(len(row) for row in rows)), dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        output: FloatArray = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return output
