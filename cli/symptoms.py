"""What is wrong with a part that runs, in plain words, as its own metrics tell it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping

Labels = frozenset[tuple[str, str]]
Samples = Mapping[str, Mapping[Labels, float]]
"""By the metric's name, then by its labels."""

LATE_SECONDS = 10.0
"""What is behind for less than this catches up by itself every day."""
MANY_EVENTS = 5_000
"""A consumer that has more before it is behind."""

_OBSTACLES = {
    "store": "waits for its database, which is down, locked or full",
    "log": "waits for the event log",
    "refusals": "takes nothing more: too many events are refused, and a whole topic must not end as dead letters",
}


def read(metrics: str | None, seconds: float) -> Samples | None:
    """Returns the samples of a part's metrics page, host:port; None where it does not answer within `seconds`."""
    if metrics is None:
        return None
    try:
        with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=seconds) as response:
            return parse(response.read().decode())
    except (OSError, urllib.error.URLError, ValueError):
        return None


def parse(page: str) -> Samples:
    """Returns the samples of a page in Prometheus' text format. Raises ValueError where it is none."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def symptoms(samples: Samples) -> list[str]:
    """Returns a sentence for everything that is wrong; none of a healthy part."""
    return [*_outbox(samples), *_consumer(samples), *_audit_log(samples)]


def value(samples: Samples, name: str) -> float:
    """Returns a figure without labels; 0 where the part has none of this name."""
    return samples.get(name, {}).get(frozenset(), 0.0)


def _outbox(samples: Samples) -> Iterator[str]:
    events, age = value(samples, "gateway_outbox_events"), value(samples, "gateway_outbox_age_seconds")
    if value(samples, "gateway_outbox_refusing"):
        yield "calls are refused: the outbox is full, or its disk is, or can't be written"
    if value(samples, "gateway_relay_failing"):
        yield "the event log can't be reached, or the outbox can't forget what went there; nothing is lost"
    if events and age > LATE_SECONDS:
        size = value(samples, "gateway_outbox_bytes") / (1 << 20)
        yield f"{events:,.0f} events ({size:.1f} MiB) wait in the outbox, the oldest for {_span(age)}"
    if value(samples, "gateway_audit_fallback"):
        taken = value(samples, "gateway_audit_fallback_events_total")
        yield f"the event log does not confirm records; the outbox stands in for it ({taken:,.0f} events so far)"
    if lost := value(samples, "gateway_records_lost_total"):
        yield f"{lost:,.0f} records of callers that had gone could not be kept since it started"
    if jumps := value(samples, "gateway_clock_jumps_total"):
        by = value(samples, "gateway_clock_last_jump_seconds")
        yield f"the clock was set {jumps:.0f} times since it started, the last time by {by:+,.1f} s; records follow it"


def _consumer(samples: Samples) -> Iterator[str]:
    for labels, waits in samples.get("assay_consumer_waiting", {}).items():
        if waits and not _is_broken(samples):  # of a broken log, _audit_log says more
            known = dict(labels)
            yield f"the consumer of {known.get('topic')} {_OBSTACLES.get(known.get('obstacle', ''), 'waits')}"
    for labels, lag in samples.get("assay_consumer_lag", {}).items():
        if lag > MANY_EVENTS:
            yield f"{lag:,.0f} events of {dict(labels).get('topic')} wait to be stored"
    for labels, letters in samples.get("assay_dead_letters", {}).items():
        if letters:
            yield f"{letters:,.0f} dead letters of {dict(labels).get('topic')}; see: assay deadletters list"


def _audit_log(samples: Samples) -> Iterator[str]:
    if _is_broken(samples):
        yield "the stored log is not the one that was signed, so nothing is appended; see: assay audit verify"
    for name, words in (
        ("assay_audit_checkpoint_late_seconds", "no checkpoint could be made"),
        ("assay_audit_unpublished_seconds", "no checkpoint could be published"),
        ("assay_audit_retention_late_seconds", "retention has waited for the database"),
    ):
        if (late := value(samples, name)) > LATE_SECONDS:
            yield f"{words} for {_span(late)}"
    if value(samples, "assay_audit_expiry_withheld"):
        yield "the clock jumped ahead, so nothing expires until the log has lived through that time"


def _is_broken(samples: Samples) -> bool:
    return "assay_audit_tree_intact" in samples and not value(samples, "assay_audit_tree_intact")


def _span(seconds: float) -> str:
    """Returns a span as people say it: "42 s", "12 min", "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
