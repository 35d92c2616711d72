"""The texts of the benchmarks, and the bare loop over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.bare import WINDOW, classify, session
from benchmarks.texts import COUNT, Text, texts
from services.classifier.bundle import FloatArray, IntArray, load_catalogue
from tests.fixtures.bundles import write_bundles


def test_texts_are_many_different_and_always_the_same() -> None:
    first = texts()
    assert first == texts()
    assert len(first) == len(set(first)) == COUNT
    assert sum(text.model == "triage" for text in first) == COUNT // 3
    assert all(text.text.strip() for text in first)


def test_a_window_is_encoded_once_whether_sorted_or_not(tmp_path: Path) -> None:
    catalogue = load_catalogue(write_bundles(tmp_path))
    encode = session(catalogue.encoders[0])
    groups: list[int] = []

    def counted(rows: list[IntArray]) -> FloatArray:
        groups.append(len(rows))
        return encode(rows)

    window = [Text("card " * (1 + n % 9), ("banking", "triage")[n % 2]) for n in range(WINDOW)]
    assert classify(catalogue, counted, window, 1) == WINDOW
    assert classify(catalogue, counted, window, 4) == WINDOW
    assert groups == [1] * 32 + [4] * 8


def test_padding_does_not_change_an_embedding(tmp_path: Path) -> None:
    encode = session(load_catalogue(write_bundles(tmp_path)).encoders[0])
    short, long = np.array([0, 5, 2], np.int64), np.array([0, *[6] * 12, 2], np.int64)
    np.testing.assert_array_equal(encode([short, long])[0], encode([short])[0])
