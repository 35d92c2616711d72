"""Retention: contents leave the log once they are old enough, and not because a clock says so that nobody watched.

The clock is believed as far as the service has seen it move: it looks every ten minutes, and a leap of more than an
hour, after a day without power or because somebody set the year wrong, keeps contents that much longer, until the clock
is put back or an operator says that it is right. So retention may err by keeping, never by removing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from services.audit.custody import CustodyStore
from services.kernel.errors import AssayError, Reason
from services.kernel.stores import StoreUnavailable

LEAST_DAYS = 183
DAY_NS = 86_400 * 10**9
SERVICE = "assay-audit"
"""The operator of what the service does by itself."""

_BATCH = 20_000
_LOOK_SECONDS = 600.0
_EXPIRE_SECONDS = 86_400.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Expiry:
    """What an expiry did."""

    events: int
    """Contents that were removed."""

    doubted: int
    """Nanoseconds that the clock says have passed and nobody saw pass."""


class Retention:
    """Removes what is older than the retention. Also a Prometheus collector."""

    def __init__(
        self,
        store: CustodyStore,
        days: int,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        """`clock` gives Unix nanoseconds and is doubted, `monotonic` gives seconds and is not."""
        self._store = store
        self._days = days
        self._clock = clock
        self._monotonic = monotonic
        self._look_seconds = look_seconds
        self._doubted = 0
        self._withheld = False
        self._expired = 0
        self._late_since: float | None = None

    async def expire(self, operator: str, trust_clock: bool = False) -> Expiry:
        """Removes everything that is old enough and not on hold, in transactions that hold nobody up for long.

        With `trust_clock` all time up to now counts as passed.

        Raises:
            StoreUnavailable: what was removed until then is removed.
        """
        now = self._clock()
        if trust_clock:
            await self._store.trust(now)
        self._doubted = await self._store.see(now)
        wanted = now - self._days * DAY_NS
        horizon = wanted - self._doubted
        events = 0
        while removed := await self._store.expire(horizon, _BATCH, operator):
            events += removed
            self._expired += removed
        await self._store.tidy(horizon)
        if events:
            _log.info("contents expired", extra={"events": events, "operator": operator})
        self._withheld = self._doubted > 0 and await self._store.has_older(wanted)
        if self._withheld:
            days = self._doubted / DAY_NS
            _log.warning("the clock leapt; contents are kept longer until it is confirmed", extra={"days": days})
        return Expiry(events, self._doubted)

    async def run(self) -> None:
        """Looks at the clock and, once a day, expires; until cancelled. What fails is tried again at the next look."""
        due = self._monotonic()
        while True:
            try:
                self._doubted = await self._store.see(self._clock())
                if self._monotonic() >= due:
                    await self.expire(SERVICE)
                    due = self._monotonic() + _EXPIRE_SECONDS
                self._late_since = None
            except StoreUnavailable:
                if self._late_since is None:
                    self._late_since = self._monotonic()
                    _log.warning("retention waits for the store")
            await asyncio.sleep(self._look_seconds)

    async def ping(self) -> None:
        """Returns unless contents are kept only because the clock is doubted. Raises AssayError: PART_UNAVAILABLE."""
        if self._withheld:
            raise AssayError(Reason.PART_UNAVAILABLE, part="clock")

    def collect(self) -> Iterator[Metric]:
        """Yields the figures as Prometheus metric families."""
        expired = CounterMetricFamily("assay_audit_expired_contents", "Contents that were removed for their age.")
        expired.add_metric([], self._expired)
        yield expired
        late = 0.0 if self._late_since is None else self._monotonic() - self._late_since
        for name, words, value in (
            ("assay_audit_retention_days", "How long contents are kept at least.", float(self._days)),
            ("assay_audit_doubted_clock_seconds", "Time that nobody saw pass; adds to it.", self._doubted / 10**9),
            ("assay_audit_expiry_withheld", "1 while contents are kept only for that.", float(self._withheld)),
            ("assay_audit_retention_late_seconds", "How long retention has waited for the store.", late),
        ):
            family = GaugeMetricFamily(name, words)
            family.add_metric([], value)
            yield family
