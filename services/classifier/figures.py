"""What the classifier tells Prometheus beyond the host's figures for each call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from services.classifier.encoding import EncodingQueue


class EncoderFigures:
    """Counts the calls to one encoder. Only the event loop's thread writes; a scrape reads from another."""

    __slots__ = ("calls", "padded_tokens", "rows")

    def __init__(self) -> None:
        self.calls = 0
        self.rows = 0
        self.padded_tokens = 0

    def observe(self, rows: int, padded_tokens: int) -> None:
        """Counts one call."""
        self.calls += 1
        self.rows += rows
        self.padded_tokens += padded_tokens


class EncoderCollector:
    """The figures and queues of all encoders, by Triton model name, as a Prometheus collector."""

    def __init__(self, figures: Mapping[str, EncoderFigures], queues: Mapping[str, EncodingQueue]) -> None:
        self._figures = figures
        self._queues = queues

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("ai_classifier_encoder_calls", "Calls to Triton.", labels=["encoder"])
        rows = CounterMetricFamily("ai_classifier_encoder_rows", "Texts in those calls.", labels=["encoder"])
        tokens = CounterMetricFamily(
            "ai_classifier_encoder_padded_tokens", "Rows times the longest row of each call.", labels=["encoder"]
        )
        waiting = GaugeMetricFamily("ai_classifier_waiting", "Texts that wait for Triton.", labels=["encoder"])
        for name, figures in self._figures.items():
            calls.add_metric([name], figures.calls)
            rows.add_metric([name], figures.rows)
            tokens.add_metric([name], figures.padded_tokens)
            waiting.add_metric([name], self._queues[name].waiting)
        yield from (calls, rows, tokens, waiting)
