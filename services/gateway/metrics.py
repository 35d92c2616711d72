"""What the gateway measures beside its calls: batching, outbox and relay, read from the parts when somebody scrapes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from services.gateway.batching import MicroBatcher
from services.gateway.governance import GovernedClassifier
from services.gateway.ports import Outbox
from services.gateway.recording import Recorder
from services.gateway.relay import Relay

_BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class BatchSizes:
    """How many texts the calls to the classifier carried."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BATCH_BOUNDS) + 1)
        self.texts = 0

    def observe(self, texts: int) -> None:
        self.buckets[bisect_left(_BATCH_BOUNDS, texts)] += 1
        self.texts += texts


class GatewayMetrics:
    """A Prometheus collector over the parts of one gateway."""

    def __init__(
        self,
        sizes: BatchSizes,
        batcher: MicroBatcher,
        outbox: Outbox,
        relay: Relay,
        recorder: Recorder,
        classifier: GovernedClassifier,
    ) -> None:
        self._sizes = sizes
        self._batcher = batcher
        self._outbox = outbox
        self._relay = relay
        self._recorder = recorder
        self._classifier = classifier

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the registry shall not compare names with another gateway of the process."""
        return []

    def collect(self) -> Iterator[Metric]:
        total, buckets = 0, []
        for bound, count in zip([*map(str, _BATCH_BOUNDS), "+Inf"], list(self._sizes.buckets), strict=True):
            total += count
            buckets.append((bound, total))
        batches = HistogramMetricFamily("ai_service_batch_size", "Texts in one call to the classifier.")
        batches.add_metric([], buckets, self._sizes.texts)
        yield batches
        oldest = self._relay.oldest_ns
        age = 0.0 if oldest is None else max(0.0, (time.time_ns() - oldest) / 1e9)
        yield GaugeMetricFamily("gateway_texts_waiting", "Texts that wait for a call.", self._batcher.waiting)
        yield GaugeMetricFamily(
            "gateway_classifier_calls_in_flight", "Calls to the classifier.", self._batcher.calls_in_flight
        )
        yield GaugeMetricFamily("gateway_outbox_events", "Events not in the event log yet.", self._outbox.depth)
        yield GaugeMetricFamily("gateway_outbox_age_seconds", "Age of the oldest of them.", age)
        yield CounterMetricFamily("gateway_relay_events", "Events that the log has confirmed.", self._relay.delivered)
        yield CounterMetricFamily("gateway_relay_failures", "Rounds that failed.", self._relay.failed_attempts)
        yield CounterMetricFamily(
            "gateway_records_lost", "Records of departed callers that could not be stored.", self._recorder.lost
        )
        yield CounterMetricFamily("gateway_reviews", "Answers that went to a person too.", self._classifier.reviews)
