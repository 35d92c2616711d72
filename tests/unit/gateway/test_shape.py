from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.detection.shape import LETTER, PLATE_END, PROVINCE, STOP, may_hold_values, plain_text, shape_of


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("abc 123", b"abc 123"),
        ("ａＢ１２", b"aB12"),
        ("𝟏𝟐３", b"123"),
        ("٣४", b"34"),
        ("1—2–3－4", b"1-2-3-4"),
        ("1\u00a02\u30003", b"1 2 3"),
        ("（1）", b"(1)"),
        ("京A·1", bytes([PROVINCE]) + b"A.1"),
        ("我是", bytes([LETTER, LETTER])),
        ("学。", bytes([PLATE_END, STOP])),
        ("1²①", b"1" + bytes([LETTER, LETTER])),
        ("1️⃣2", b"12"),
        ("1\u200b2\u00ad3\ufeff", b"123"),
        ("1\x002", b"12"),
        ("", b""),
    ],
)
@pytest.mark.parametrize("times", [1, 200], ids=["short", "long"])
def test_spellings_have_one_shape(text: str, data: bytes, times: int) -> None:
    # Short and long texts take different ways.
    assert shape_of(text * times).data == data * times


@given(st.text(max_size=300))
def test_places_lead_back_to_the_text(text: str) -> None:
    shape = shape_of(text)
    places = [shape.place(index) for index in range(len(shape.data))]
    assert places == sorted(set(places))
    assert all(shape_of(text[place]).data == shape.data[i : i + 1] for i, place in enumerate(places))
    assert all(shape.end(i + 1) == place + 1 for i, place in enumerate(places))


@given(st.text(max_size=200))
def test_the_plain_text_stands_where_the_shape_does(text: str) -> None:
    shape = shape_of(text)
    plain = plain_text(text, shape)
    assert len(plain) == len(shape.data)
    for index, character in enumerate(plain):
        byte = shape.data[index]
        assert character == (chr(byte) if byte < LETTER else text[shape.place(index)])


def test_a_text_without_digits_at_signs_and_colons_holds_nothing() -> None:
    assert not may_hold_values(shape_of("我想知道 when, please!").data)
    assert all(may_hold_values(shape_of(sign).data) for sign in ("1", "１", "@", "＠", ":", "："))
