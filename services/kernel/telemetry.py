"""Metrics and traces of the calls that a process serves.

Metrics: Prometheus text on an address of its own. The per-call figures are plain numbers that only the event loop
changes, turned into metric families when somebody scrapes, so a call pays for two additions and a bisection.

Traces: OpenTelemetry, only where the standard variable OTEL_EXPORTER_OTLP_ENDPOINT names a collector; the SDK reads
its variables itself. Without it no span is made and nothing is sent anywhere.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

# Upper bounds in seconds. A cached answer takes a millisecond, a full encoder pass tens of them.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


class MethodFigures:
    """What one method did so far. Only the event loop's thread writes; a scrape reads from another."""

    __slots__ = ("buckets", "codes", "in_flight", "method", "seconds", "service")

    def __init__(self, service: str, method: str) -> None:
        self.service = service
        self.method = method
        self.in_flight = 0
        self.seconds = 0.0
        self.codes = [0] * len(_CODES)
        self.buckets = [0] * (len(BOUNDS) + 1)

    def ended(self, code: int, seconds: float) -> None:
        """Counts a call that ended with a gRPC status code after so many seconds."""
        self.codes[code if 0 <= code < len(_CODES) else 2] += 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class CallMetrics:
    """The figures of every method of one host, as a Prometheus collector."""

    def __init__(self) -> None:
        self._methods: dict[tuple[str, str], MethodFigures] = {}

    def of(self, service: str, method: str) -> MethodFigures:
        """Returns the figures of a method, new ones at the first call."""
        return self._methods.setdefault((service, method), MethodFigures(service, method))

    def in_flight(self) -> int:
        """Returns how many calls are being served now."""
        return sum(figures.in_flight for figures in self._methods.values())

    def collect(self) -> Iterator[Metric]:
        labels = ["service", "method"]
        requests = CounterMetricFamily("ai_service_requests", "Calls that ended, by status.", labels=[*labels, "code"])
        seconds = HistogramMetricFamily("ai_service_request_seconds", "From first byte to status.", labels=labels)
        in_flight = GaugeMetricFamily("ai_service_requests_in_flight", "Calls being served.", labels=labels)
        for figures in list(self._methods.values()):
            names = [figures.service, figures.method]
            for code, count in zip(_CODES, figures.codes, strict=True):
                if count:
                    requests.add_metric([*names, code], count)
            total, buckets = 0, []
            for bound, count in zip([*map(str, BOUNDS), "+Inf"], list(figures.buckets), strict=True):
                total += count
                buckets.append((bound, total))
            seconds.add_metric(names, buckets, figures.seconds)
            in_flight.add_metric(names, figures.in_flight)
        yield from (requests, seconds, in_flight)


class _Both:
    def __init__(self, calls: CallMetrics) -> None:
        self._calls = calls

    def collect(self) -> Iterable[Metric]:
        yield from REGISTRY.collect()
        yield from self._calls.collect()


@contextmanager
def exposition(calls: CallMetrics, listen: str | None) -> Iterator[int | None]:
    """Serves these figures and the process's default registry at http://`listen`/metrics, from a thread.

    Yields the port, None where `listen` is None.

    Raises:
        OSError: the address is taken.
    """
    if listen is None:
        yield None
        return
    host, _, port = listen.rpartition(":")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Both(calls))
    server, thread = start_http_server(int(port), host, registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def tracer(part: str) -> trace.Tracer | None:
    """Returns a tracer that exports over OTLP, or None where no collector is configured."""
    # The SDK's own variable, read by the SDK too: it is not one of ours, so it does not pass through settings.py.
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"assay-{part}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("assay")


@contextmanager
def server_span(
    source: trace.Tracer, service: str, method: str, metadata: Iterable[tuple[str, Any]]
) -> Iterator[trace.Span]:
    """Runs a call in a span whose parent the caller's `traceparent` names (W3C Trace Context).

    The span holds names and the status code, nothing of the message. An exception's text is not recorded.
    """
    carrier = {key: value for key, value in metadata if isinstance(value, str)}
    token = otel_context.attach(propagate.extract(carrier))
    try:
        with source.start_as_current_span(
            f"{service}/{method}",
            kind=trace.SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span
    finally:
        otel_context.detach(token)


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """Returns the metadata that carries the current span to the next service; empty where there is none."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ()
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())


def flush(source: trace.Tracer | None) -> None:
    """Sends what is buffered, waiting at most 2 s; for the end of a process."""
    provider: Any = getattr(source, "span_processor", None)
    if provider is not None:
        provider.force_flush(2000)
