"""The servicer context of the Envoy host, without a host."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from services.kernel.hosting.context import Context


class Sent(list[dict[str, Any]]):
    async def __call__(self, event: dict[str, Any]) -> None:
        self.append(event)


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def context(sent: Sent) -> Context:
    headers = [(b"x-a", b"1"), (b"grpc-accept-encoding", b"identity,gzip")]
    return Context({"headers": headers, "client": ("::1", 7)}, sent)


async def test_answer(context: Context, sent: Sent) -> None:
    await context.answer(b"abc")
    start, body, trailers = sent
    assert (start["status"], start["trailers"]) == (200, True)
    assert body["body"] == b"\0\0\0\0\3abc"
    assert trailers["headers"] == [(b"grpc-status", b"0")]
    assert context.done()


async def test_status_without_a_message_stands_in_the_headers(context: Context, sent: Sent) -> None:
    context.set_code(grpc.StatusCode.NOT_FOUND)
    context.set_details("没有")
    await context.answer(b"abc")
    start, body = sent
    assert not start["trailers"]
    assert (b"grpc-status", b"5") in start["headers"]
    assert (b"grpc-message", b"%E6%B2%A1%E6%9C%89") in start["headers"]
    assert body["body"] == b""


async def test_initial_metadata_goes_once(context: Context, sent: Sent) -> None:
    await context.send_initial_metadata((("first", "1"),))
    assert (b"first", b"1") in sent[0]["headers"]
    with pytest.raises(RuntimeError):
        await context.send_initial_metadata(())
    with pytest.raises(RuntimeError):
        context.set_compression(grpc.Compression.Gzip)


async def test_abort(context: Context) -> None:
    context.set_trailing_metadata((("kept", "1"),))
    with pytest.raises(grpc.aio.AbortError):
        await context.abort(grpc.StatusCode.ABORTED, "why")
    assert (context.code(), context.details()) == (grpc.StatusCode.ABORTED, "why")
    assert context.trailing_metadata() == (("kept", "1"),)
    with pytest.raises(ValueError, match="not OK"):
        await context.abort(grpc.StatusCode.OK)


async def test_gzip_only_where_it_can_be_read(sent: Sent) -> None:
    deaf = Context({"headers": []}, sent)
    deaf.set_compression(grpc.Compression.Gzip)
    await deaf.write(b"x" * 100)
    assert sent[1]["body"][0] == 0
    context = Context({"headers": [(b"grpc-accept-encoding", b"gzip")]}, sent)
    context.set_compression(grpc.Compression.Gzip)
    await context.write(b"x" * 100)
    assert (b"grpc-encoding", b"gzip") in sent[2]["headers"]
    assert sent[3]["body"][0] == 1
    context.disable_next_message_compression()
    await context.write(b"x" * 100)
    assert sent[4]["body"][0] == 0


def test_what_it_knows_of_the_caller(context: Context) -> None:
    assert context.peer() == "ipv6:[::1]:7"
    assert Context({"headers": []}, Sent()).peer() == "unknown"
    assert context.auth_context() == {}
    assert context.time_remaining() is None
    assert context.invocation_metadata() == (("x-a", "1"),)
    assert not context.cancelled()


def test_done_callbacks(context: Context) -> None:
    called: list[Any] = []
    context.add_done_callback(called.append)
    context.over()
    assert called == [context]
