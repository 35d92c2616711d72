"""Publisher on Kafka: idempotent, confirmed by every replica in sync, and every record's own future looked at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from kafka import KafkaProducer

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
from services.kernel.eventlog.port import Event, EventLogUnavailable

_BATCH_BYTES = 256 * 1024


class KafkaPublisher:
    """Publisher. Connects when first used, and with a new producer after each failure.

    A new one, because a producer that gave up on a record can't tell whether the broker has it, and the library says
    that nothing after it is safe from being lost or doubled. Publishing again may double events; consumers know them
    by their key.
    """

    def __init__(self, brokers: Sequence[str]) -> None:
        self._brokers = brokers
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-publisher")
        self._producer: KafkaProducer | None = None
        self._closed = False

    async def publish(self, topic: str, events: Sequence[Event]) -> None:
        """As the port says; calls may overlap, and their events are appended in the order of the calls."""
        if not events:
            return
        loop = asyncio.get_running_loop()
        confirmation = _Confirmation(len(events), loop)
        try:
            async with asyncio.timeout(CONNECT_SECONDS + REPLY_SECONDS):
                if self._producer is None:
                    await self.ping()  # finds out at once, where the library would try for some seconds
                await loop.run_in_executor(self._thread, self._send, topic, events, confirmation)
                await confirmation.complete
        except (EventLogUnavailable, TimeoutError) as error:
            self._give_up(confirmation.producer)
            raise EventLogUnavailable(str(error) or type(error).__name__) from error

    async def ping(self) -> None:
        await ping_brokers(self._brokers)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._give_up(self._producer)
            await asyncio.to_thread(self._thread.shutdown)

    def _send(self, topic: str, events: Sequence[Event], confirmation: _Confirmation) -> None:
        with faults():
            producer = self._producer
            if producer is None:
                producer = self._producer = self._connect()
            confirmation.producer = producer
            for event in events:
                headers = [(TRIES, b"%d" % event.tries)] if event.tries else None
                sent = producer.send(topic, value=event.payload, key=event.key.encode(), headers=headers)
                # Not flush(): it returns normally when a batch has expired, and only the futures know.
                sent.add_callback(confirmation.confirmed)
                sent.add_errback(confirmation.failed)

    def _connect(self) -> KafkaProducer:
        return connected(
            KafkaProducer,
            **client_settings(self._brokers, "assay-publisher"),
            enable_idempotence=True,
            acks="all",
            delivery_timeout_ms=int(REPLY_SECONDS * 1000),
            max_block_ms=int(REPLY_SECONDS * 1000),
            max_request_size=LARGEST_EVENT_BYTES,
            batch_size=_BATCH_BYTES,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )

    def _give_up(self, producer: KafkaProducer | None) -> None:
        """Leaves the producer, unless another call did so before, and ends it aside: that may take a moment."""
        if producer is None or producer is not self._producer:
            return
        self._producer = None
        threading.Thread(target=_end, args=(producer,), name="kafka-publisher-end", daemon=True).start()


class _Confirmation:
    """Counts the records of one publish; `complete` ends with the last confirmation, or raises at the first fault."""

    def __init__(self, records: int, loop: asyncio.AbstractEventLoop) -> None:
        self.complete: asyncio.Future[None] = loop.create_future()
        self.producer: KafkaProducer | None = None
        self._left = records
        self._loop = loop
        self._lock = threading.Lock()

    def confirmed(self, _: object) -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._tell(None)

    def failed(self, error: Exception) -> None:
        self._tell(EventLogUnavailable(type(error).__name__))

    def _tell(self, fault: EventLogUnavailable | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._end, fault)

    def _end(self, fault: EventLogUnavailable | None) -> None:
        if self.complete.done():
            return
        if fault is None:
            self.complete.set_result(None)
        else:
            self.complete.set_exception(fault)
            self.complete.exception()  # looked at, in case the call was cancelled and nobody else does


def _end(producer: KafkaProducer) -> None:
    # By then each record has been confirmed or has expired; with less time close() gives up before it closes.
    with suppress(Exception):
        producer.close(timeout=2 * REPLY_SECONDS)
