"""Subscription on Kafka: manual commits behind the caller's, cooperative rebalancing, a place kept while it works."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CommitFailedError, IllegalGenerationError, KafkaTimeoutError, RebalanceInProgressError
from kafka.structs import MemberState

from services.kernel.eventlog import kafka_topics
from services.kernel.eventlog.kafka import (
    CONNECT_SECONDS,
    LARGEST_EVENT_BYTES,
    REPLY_SECONDS,
    TRIES,
    client_settings,
    connected,
    faults,
)
from services.kernel.eventlog.kafka import ping as ping_brokers
from services.kernel.eventlog.kafka_progress import Progress
from services.kernel.eventlog.port import Delivery, Event, EventLogUnavailable

Result = TypeVar("Result")

_SLICE_SECONDS = 0.25  # a poll on the worker thread: a commit of another task waits no longer than that
_KEEP_SECONDS = 1.0  # between two signs of life while the caller works
_JOIN_SECONDS = 60.0  # after that long outside the group the client starts afresh
_TRIM_SECONDS = 60.0
_CLOSE_SECONDS = 3.0
_COMMIT_MILLISECONDS = 500  # an attempt; the library would go on asking in the middle of a rebalance, and never end it
# The group may have moved on: what to do about each is to take part in the rebalance, and then to look what is left.
_REBALANCED = (CommitFailedError, IllegalGenerationError, KafkaTimeoutError, RebalanceInProgressError)


class KafkaSubscription:
    """Subscription of one consumer, whose group is the topic's and the group's name with a dot between.

    `consumer` is a name that stays the same over restarts of an instance and differs between instances: Kafka knows it
    as a static member, so one that comes back under its name has its partitions again at once. What a dead one held
    goes to the others after `claim_idle_seconds`, which is the session's timeout, and at once after `close`. Two that
    share a name by mistake shut each other out in turns, get some events twice and lose none.

    Kafka does not count deliveries: `attempt` counts those by this object, and starts at 1 again after a restart.

    A topic has one group (topics.py), so what the group has committed is deleted from the topic, within minutes.
    """

    def __init__(
        self, brokers: Sequence[str], topic: str, group: str, consumer: str, *, claim_idle_seconds: float = 30.0
    ) -> None:
        self._brokers = brokers
        self._topic = topic
        self._group = f"{topic}.{group}"
        self._member = re.sub(r"[^A-Za-z0-9._-]", "-", consumer)
        self._session_seconds = claim_idle_seconds
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-subscription")
        self._consumer: KafkaConsumer | None = None  # used on the worker thread alone: it is not safe on several
        self._stable_at = 0.0
        self._polled_at = 0.0
        self._progress = Progress()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def poll(self, limit: int, timeout_seconds: float) -> list[Delivery]:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"kafka keeper of {self._topic}")
        deadline = time.monotonic() + timeout_seconds
        if self._consumer is None:
            await self.ping()  # finds out at once, where the library would try for some seconds
        while True:
            # What a cancelled poll fetched waits here.
            found = self._progress.take(limit)
            if found:
                return found
            left = deadline - time.monotonic()
            await self._run(partial(self._fetch, limit, max(0.0, min(left, _SLICE_SECONDS))))
            if left <= _SLICE_SECONDS:
                found = self._progress.take(limit)
                if not found:
                    # The library waits in silence for a broker that is away.
                    await self.ping()
                return found

    async def commit(self, deliveries: Sequence[Delivery]) -> None:
        """As the port says. What went to another consumer meanwhile is left to that one, without a word."""
        if not deliveries:
            return
        if self._consumer is None:  # it failed, and the next one gets them again; but say so while the log is away
            await self.ping()
        self._progress.finish(deliveries)
        await self._run(self._commit)

    async def lag(self) -> int:
        return await self._run(self._lag)

    async def ping(self) -> None:
        await ping_brokers(self._brokers)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        with suppress(EventLogUnavailable):
            if self._consumer is not None:
                await self.ping()  # there is nobody to say goodbye to while the log is away
                await self._run(self._leave)
        self._start_over()
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], Result]) -> Result:
        """Does the work on the worker thread; whatever it raises becomes EventLogUnavailable, as does a long wait."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS + REPLY_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)
        except TimeoutError as error:
            raise EventLogUnavailable("no answer") from error

    def _guarded(self, work: Callable[[], Result]) -> Result:
        try:
            with faults():
                return work()
        except EventLogUnavailable:
            self._start_over()
            raise

    def _start_over(self) -> None:
        """Leaves a client that has failed, and what it had fetched: the next one gets it again."""
        consumer, self._consumer = self._consumer, None
        self._progress.forget()
        if consumer is not None:
            threading.Thread(target=_end, args=(consumer,), name="kafka-subscription-end", daemon=True).start()

    async def _keep(self) -> None:
        """Keeps the place in the group while the caller works, and deletes what is committed."""
        trimmed: Mapping[int, int] = {}
        trim_at = time.monotonic() + _TRIM_SECONDS
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            with suppress(EventLogUnavailable):
                if time.monotonic() - self._polled_at >= _KEEP_SECONDS:
                    await self._run(self._show_life)
                if time.monotonic() >= trim_at:
                    trim_at = time.monotonic() + _TRIM_SECONDS
                    behind = self._progress.last_committed()
                    if behind != trimmed:
                        await asyncio.to_thread(kafka_topics.delete_before, self._brokers, self._topic, behind)
                        trimmed = behind

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            consumer = connected(
                KafkaConsumer,
                **client_settings(self._brokers, self._member),
                group_id=self._group,
                group_instance_id=self._member,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                partition_assignment_strategy=[CooperativeStickyAssignor],
                session_timeout_ms=int(self._session_seconds * 1000),
                heartbeat_interval_ms=int(min(3.0, self._session_seconds / 4) * 1000),
                max_poll_interval_ms=int(max(60.0, 2 * self._session_seconds) * 1000),
                max_partition_fetch_bytes=LARGEST_EVENT_BYTES,
                allow_auto_create_topics=False,
                metadata_max_age_ms=30_000,
                metrics_enabled=False,
            )
            self._consumer = consumer
            if not consumer.partitions_for_topic(self._topic):
                raise EventLogUnavailable(f"there is no topic {self._topic}; create it with: assay topics create")
            consumer.subscribe([self._topic], listener=_Rebalances(self._progress))
            self._stable_at = time.monotonic()
        return self._consumer

    def _fetch(self, limit: int, seconds: float) -> None:
        consumer = self._connected()
        self._polled_at = time.monotonic()
        self._hold(consumer.poll(timeout_ms=int(seconds * 1000), max_records=limit))
        self._polled_at = time.monotonic()
        self._look_after_membership(consumer)

    def _show_life(self) -> None:
        """Polls with every partition paused: takes part in rebalances and stays a member, without taking events."""
        consumer = self._consumer
        if consumer is None:
            return
        paused = consumer.assignment()
        consumer.pause(*paused)
        try:
            # A partition that is assigned meanwhile is not paused; what it brings waits for the caller's next poll.
            self._hold(consumer.poll(timeout_ms=200, max_records=1))
        finally:
            consumer.resume(*(paused & consumer.assignment()))
        self._look_after_membership(consumer)

    def _look_after_membership(self, consumer: KafkaConsumer) -> None:
        now = time.monotonic()
        state = consumer.group_metadata().state
        if state == MemberState.STABLE:
            self._stable_at = now
        elif now - self._stable_at > _JOIN_SECONDS:
            raise EventLogUnavailable(f"can't join the group {self._group}")
        elif state == MemberState.REBALANCING and not consumer._coordinator.need_rejoin():
            # Version 3.0.12 forgets a join that outlasts a poll when a change of the topics was what called for it:
            # it sends no heartbeat, commits nothing and never tries again. This reminds it.
            consumer._coordinator.request_rejoin()

    def _hold(self, fetched: Mapping[TopicPartition, Sequence[Any]]) -> None:
        for where, records in fetched.items():
            self._progress.add(where.partition, [(record.offset, _event(record)) for record in records])

    def _commit(self) -> None:
        """Commits every partition up to its first event that is not done; a rebalance in between is waited for."""
        deadline = time.monotonic() + REPLY_SECONDS
        while True:
            new = self._progress.to_commit()
            if self._consumer is None or not new:
                return
            offsets = {TopicPartition(self._topic, n): OffsetAndMetadata(behind, "", -1) for n, behind in new.items()}
            try:
                self._consumer.commit(offsets, timeout_ms=_COMMIT_MILLISECONDS)
            except _REBALANCED:
                if time.monotonic() > deadline:
                    raise
                self._show_life()
                continue
            self._progress.committed(new)
            return

    def _lag(self) -> int:
        consumer = self._connected()
        parts = [TopicPartition(self._topic, number) for number in consumer.partitions_for_topic(self._topic)]
        milliseconds = int(REPLY_SECONDS * 1000)
        ends = consumer.end_offsets(parts, timeout_ms=milliseconds)
        starts = consumer.beginning_offsets(parts, timeout_ms=milliseconds)
        done = {part: consumer.committed(part, timeout_ms=milliseconds) or 0 for part in parts}
        return sum(ends[part] - max(starts[part], done[part]) for part in parts)

    def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        joined = consumer.group_metadata().state != MemberState.UNJOINED
        _end(consumer)
        if joined:
            # A static member says no goodbye by itself, and the others would wait for its session to end.
            kafka_topics.remove_member(self._brokers, self._group, self._member)


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # the library is not typed
    """Forgets the partitions that went to another consumer; called on the library's own thread."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._progress.forget([part.partition for part in revoked])

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        # What is known of them is of an earlier time.
        self._progress.forget([part.partition for part in assigned])

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._progress.forget([part.partition for part in lost])


def _event(record: Any) -> Event:
    # A record that someone else wrote may lack key or value; it goes on as an event that nobody can parse.
    tries = dict(record.headers or ()).get(TRIES) or b"0"
    return Event(
        (record.key or b"").decode(errors="replace"),
        record.value or b"",
        int(tries) if tries.isdigit() and len(tries) < 10 else 0,
    )


def _end(consumer: KafkaConsumer) -> None:
    with suppress(Exception):
        consumer.close(autocommit=False, timeout_ms=int(_CLOSE_SECONDS * 1000))
