"""Metadata, timeouts and status messages as headers."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.errors import AssayError, Reason
from services.kernel.hosting.headers import decode_metadata, encode_metadata, status_message, timeout_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"6n", 6e-9), (b"0S", 0)],
)
def test_timeout(value: bytes, seconds: float) -> None:
    assert timeout_seconds(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"1x", b"-1S", b"1.5S", b"123456789S", b" 1S", "１S".encode()])
def test_malformed_timeout(value: bytes) -> None:
    with pytest.raises(AssayError) as raised:
        timeout_seconds(value)
    assert raised.value.reason is Reason.FIELD_INVALID


@given(st.text(max_size=500))
def test_status_message_is_a_header_and_reversible(text: str) -> None:
    encodable = text.encode(errors="ignore").decode()
    encoded = status_message(encodable)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote(encoded.decode()) == encodable


def test_status_message_is_bounded() -> None:
    assert len(status_message("字" * 100_000)) < 20_000


@given(st.binary(max_size=100))
def test_binary_metadata_survives(data: bytes) -> None:
    assert decode_metadata(encode_metadata([("some-bin", data)])) == (("some-bin", data),)


def test_what_the_caller_sent() -> None:
    headers = [
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"grpc-timeout", b"1S"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"x-bin", b"AAE=,AAE"),
        (b"y-bin", b"!"),
    ]
    assert decode_metadata(headers) == (("x-a", "1"), ("x-a", "2"), ("x-bin", b"\0\1"), ("x-bin", b"\0\1"))


@pytest.mark.parametrize("pair", [("a b", "x"), ("ü", "x"), ("", "x"), ("a", "x\ny"), ("a", "ü"), ("a", "\0")])
def test_what_a_header_cannot_hold(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="characters"):
        encode_metadata([pair])
