"""What is wrapped around a handler, without a host: spans, refusals, and a hook that fails."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.kernel.application import Refusal
from services.kernel.errors import AssayError, Reason
from services.kernel.hosting.calls import Calls
from services.kernel.hosting.context import Context
from services.kernel.hosting.registry import Registry
from services.kernel.telemetry import CallMetrics


async def nowhere(_: dict[str, Any]) -> None: ...


def context(**headers: str) -> Context:
    return Context({"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}, nowhere)


def handler(behaviour: Any) -> Any:
    def parse(data: bytes) -> str:
        return data.decode("utf-8")

    return grpc.unary_unary_rpc_method_handler(behaviour, parse, str.encode)


async def upper(request: str, _: Any) -> str:
    return request.upper()


async def test_a_call() -> None:
    metrics = CallMetrics()
    registry = Registry(Calls(metrics))
    registry.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler(upper)}),))
    method = registry.find("/a.B/C")
    assert method is not None
    assert registry.find("/a.B/C") is method
    assert await method.call(b"abc", context()) == b"ABC"
    assert registry.find("/a.B/Nope") is None
    assert sum(metrics.of("a.B", "C").codes) == 1


async def test_a_span_for_each_call() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    method = Calls(CallMetrics(), provider.get_tracer("test")).method("a.B", "C", handler(upper))
    assert await method.call(b"abc", context()) == b"ABC"
    with pytest.raises(grpc.aio.AbortError):
        await method.call(b"\xff", context())
    fine, malformed = exporter.get_finished_spans()
    assert dict(fine.attributes or {})["rpc.grpc.status_code"] == 0
    assert dict(malformed.attributes or {})["rpc.grpc.status_code"] == 3


async def test_a_refusal_is_reported_before_it_leaves() -> None:
    heard: list[Refusal] = []

    async def refused(refusal: Refusal) -> None:
        heard.append(refusal)

    calls = Calls(CallMetrics(), refused=refused, max_message_bytes=10)
    method = calls.method("a.B", "C", handler(upper))
    for data, reason in ((b"\xff", Reason.MESSAGE_MALFORMED), (b"x" * 11, Reason.MESSAGE_TOO_LARGE)):
        with pytest.raises(grpc.aio.AbortError):
            await method.call(data, context(caller="me"))
        assert (heard[-1].error.reason, heard[-1].message_bytes) == (reason, len(data))
        assert heard[-1].method == "/a.B/C"
        assert list(heard[-1].metadata) == [("caller", "me")]


async def test_what_the_hook_raises_leaves_instead() -> None:
    async def refused(_: Refusal) -> None:
        raise AssayError(Reason.AUDIT_UNAVAILABLE, part="outbox")

    async def broken(_: Refusal) -> None:
        raise ConnectionError("canary")

    for hook, code in ((refused, grpc.StatusCode.UNAVAILABLE), (broken, grpc.StatusCode.INTERNAL)):
        asked = context()
        with pytest.raises(grpc.aio.AbortError):
            await Calls(CallMetrics(), refused=hook).method("a.B", "C", handler(upper)).call(b"\xff", asked)
        assert asked.code() is code
        assert "canary" not in asked.details()


async def test_an_unknown_path_is_bounded_and_printable() -> None:
    method = Calls(CallMetrics()).unknown("/" + "x\n" * 1000)
    asked = context()
    with pytest.raises(grpc.aio.AbortError):
        await method.call(iter(()), asked)
    assert asked.code() is grpc.StatusCode.UNIMPLEMENTED
    assert len(asked.details()) < 300
    assert "\n" not in asked.details()
