"""Length-prefixed messages."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.errors import AssayError, Reason
from services.kernel.hosting.framing import Deframer, frame, gunzip, gzip_frame

LIMIT = 1000


def reason(raised: pytest.ExceptionInfo[AssayError]) -> Reason:
    return raised.value.reason


@given(st.lists(st.tuples(st.binary(max_size=200), st.booleans())), st.integers(1, 50))
def test_messages_survive_any_cutting(messages: list[tuple[bytes, bool]], size: int) -> None:
    stream = b"".join(gzip_frame(message) if packed else frame(message) for message, packed in messages)
    deframer, found = Deframer(LIMIT, gzip=True), []
    for at in range(0, len(stream), size):
        deframer.feed(stream[at : at + size])
        while (message := deframer.next()) is not None:
            found.append(message)
    deframer.end()
    assert found == [message for message, _ in messages]


@given(st.binary(max_size=300))
def test_noise_is_refused_or_read_but_nothing_else(noise: bytes) -> None:
    deframer = Deframer(LIMIT, gzip=True)
    deframer.feed(noise)
    try:
        while deframer.next() is not None:
            pass
        deframer.end()
        refused = None
    except AssayError as error:
        refused = error.reason
    assert refused in (None, Reason.MESSAGE_MALFORMED, Reason.MESSAGE_TOO_LARGE)


def test_too_large_is_told_by_the_prefix() -> None:
    deframer = Deframer(LIMIT, gzip=False)
    deframer.feed(b"\0" + (LIMIT + 1).to_bytes(4, "big"))
    with pytest.raises(AssayError) as raised:
        deframer.next()
    assert raised.value.metadata == {"bytes": "1001", "limit": "1000"}


def test_a_flag_without_an_encoding() -> None:
    for flag, allowed in ((1, False), (2, True), (255, True)):
        deframer = Deframer(LIMIT, gzip=allowed)
        deframer.feed(bytes((flag, 0, 0, 0, 0)))
        with pytest.raises(AssayError) as raised:
            deframer.next()
        assert reason(raised) is Reason.MESSAGE_MALFORMED


def test_unfinished() -> None:
    deframer = Deframer(LIMIT, gzip=False)
    deframer.feed(b"\0\0\0\0\5abc")
    assert deframer.next() is None
    with pytest.raises(AssayError) as raised:
        deframer.end()
    assert reason(raised) is Reason.MESSAGE_MALFORMED


def test_a_bomb_is_never_unpacked() -> None:
    with pytest.raises(AssayError) as raised:
        gunzip(gzip.compress(bytes(50_000_000)), LIMIT)
    assert reason(raised) is Reason.MESSAGE_TOO_LARGE
    assert raised.value.metadata["bytes"] == str(LIMIT + 1)


@pytest.mark.parametrize(
    "data", [b"", b"not gzip", gzip.compress(b"x")[:-3], gzip.compress(b"x") + b"y", gzip.compress(b"x") * 2]
)
def test_what_is_not_one_gzip_stream(data: bytes) -> None:
    with pytest.raises(AssayError) as raised:
        gunzip(data, LIMIT)
    assert reason(raised) is Reason.MESSAGE_MALFORMED


def test_at_the_limit() -> None:
    assert gunzip(gzip.compress(b"x" * LIMIT), LIMIT) == b"x" * LIMIT
