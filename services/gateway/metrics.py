"""What the gateway measures beside its calls: batching, outbox and relay, read from the parts when somebody scrapes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from services.gateway.batching import MicroBatcher
from services.gateway.clock import ClockWatch
from services.gateway.durability import SYNC_BOUNDS, Assurance
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
        assured: Assurance,
        clock: ClockWatch,
    ) -> None:
        self._sizes = sizes
        self._batcher = batcher
        self._outbox = outbox
        self._relay = relay
        self._recorder = recorder
        self._classifier = classifier
        self._assured = assured
        self._clock = clock

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the registry shall not compare names with another gateway of the process."""
        return []

    def collect(self) -> Iterator[Metric]:
        sizes = self._sizes
        yield _histogram(
            "ai_service_batch_size", "Texts in one call to the classifier.", _BATCH_BOUNDS, sizes.buckets, sizes.texts
        )
        oldest = self._relay.oldest_ns
        age = 0.0 if oldest is None else max(0.0, (time.time_ns() - oldest) / 1e9)
        yield GaugeMetricFamily("gateway_texts_waiting", "Texts that wait for a call.", self._batcher.waiting)
        yield GaugeMetricFamily(
            "gateway_classifier_calls_in_flight", "Calls to the classifier.", self._batcher.calls_in_flight
        )
        yield GaugeMetricFamily("gateway_outbox_events", "Events not in the event log yet.", self._outbox.depth)
        yield GaugeMetricFamily("gateway_outbox_bytes", "Bytes of their payloads.", self._outbox.size)
        yield GaugeMetricFamily("gateway_outbox_age_seconds", "Age of the oldest of them.", age)
        yield GaugeMetricFamily(
            "gateway_outbox_refusing",
            "1 while it takes nothing and calls are refused.",
            self._outbox.refusing,
        )
        yield CounterMetricFamily("gateway_relay_events", "Events that the log has confirmed.", self._relay.delivered)
        yield CounterMetricFamily("gateway_relay_failures", "Rounds that failed.", self._relay.failed_attempts)
        yield GaugeMetricFamily("gateway_relay_failing", "1 while the last round failed.", self._relay.failing)
        yield from self._durability()
        yield CounterMetricFamily("gateway_clock_jumps", "How often the clock was set.", self._clock.jumps)
        yield GaugeMetricFamily(
            "gateway_clock_last_jump_seconds", "By how much the last time.", self._clock.last_seconds
        )
        yield CounterMetricFamily(
            "gateway_records_lost", "Records of departed callers that could not be stored.", self._recorder.lost
        )
        yield CounterMetricFamily("gateway_reviews", "Answers that went to a person too.", self._classifier.reviews)

    def _durability(self) -> Iterator[Metric]:
        assured = self._assured
        mode = GaugeMetricFamily("gateway_audit_durability", "1 for the setting audit_durability.", labels=["mode"])
        mode.add_metric([assured.durability.name], 1)
        yield mode
        if synced := assured.synced:
            yield _histogram(
                "gateway_outbox_sync_seconds",
                "What a sync of the outbox's disk takes.",
                SYNC_BOUNDS,
                synced.buckets,
                synced.seconds,
            )
        if confirmed := assured.confirmed:
            yield GaugeMetricFamily(
                "gateway_audit_fallback", "1 while the outbox stands in for the event log.", confirmed.away
            )
            yield CounterMetricFamily(
                "gateway_audit_fallback_events", "Events that the outbox took in its stead.", confirmed.fallbacks
            )
            yield CounterMetricFamily(
                "gateway_audit_confirmed_events", "Events that the log confirmed at once.", confirmed.confirmed
            )


def _histogram(
    name: str, words: str, bounds: Sequence[float], counts: Sequence[int], total: float
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, words)
    below, buckets = 0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], list(counts), strict=True):
        below += count
        buckets.append((bound, below))
    family.add_metric([], buckets, total)
    return family
