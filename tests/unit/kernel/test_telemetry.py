"""Figures of calls as Prometheus reads them, and spans where a collector is configured."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from services.kernel import telemetry


def test_figures() -> None:
    calls = telemetry.CallMetrics()
    figures = calls.of("a.B", "C")
    assert calls.of("a.B", "C") is figures
    for seconds in (0.0001, 0.003, 99.0):
        figures.ended(0, seconds)
    figures.ended(5, 0.003)
    figures.ended(77, 0.003)
    figures.in_flight = 2
    registry = CollectorRegistry()
    registry.register(calls)
    text = generate_latest(registry).decode()
    labels = 'method="C",service="a.B"'
    assert f'ai_service_requests_total{{code="OK",{labels}}} 3.0' in text
    assert f'ai_service_requests_total{{code="NOT_FOUND",{labels}}} 1.0' in text
    assert f'ai_service_requests_total{{code="UNKNOWN",{labels}}} 1.0' in text
    assert f'ai_service_request_seconds_bucket{{le="0.0005",{labels}}} 1.0' in text
    assert f'ai_service_request_seconds_bucket{{le="0.005",{labels}}} 4.0' in text
    assert f'ai_service_request_seconds_bucket{{le="+Inf",{labels}}} 5.0' in text
    assert f"ai_service_requests_in_flight{{{labels}}} 2.0" in text
    assert calls.in_flight() == 2


def test_exposition() -> None:
    calls = telemetry.CallMetrics()
    calls.of("a.B", "C").ended(0, 0.1)
    with (
        telemetry.exposition(calls, "127.0.0.1:0") as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        text = answer.read().decode()
    assert "ai_service_requests_total" in text
    assert "process_cpu_seconds_total" in text
    with telemetry.exposition(calls, None) as port:
        assert port is None


def test_no_collector_no_tracer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert telemetry.tracer("gateway") is None
    assert telemetry.outgoing_metadata() == ()
    telemetry.flush(None)


def test_a_span_continues_the_callers_trace() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    caller = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    metadata: list[tuple[str, Any]] = [caller, ("some-bin", b"\0")]

    def handle() -> None:
        with telemetry.server_span(provider.get_tracer("test"), "a.B", "C", metadata):
            assert dict(telemetry.outgoing_metadata())["traceparent"].split("-")[1] == caller[1].split("-")[1]
            raise RuntimeError("canary")

    with pytest.raises(RuntimeError):
        handle()
    (span,) = exporter.get_finished_spans()
    assert span.name == "a.B/C"
    assert span.kind is trace.SpanKind.SERVER
    assert format(span.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert "canary" not in span.to_json()
