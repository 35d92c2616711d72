"""Builds the gateway, and closes it in reverse."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from assay.ai.v1 import ai_pb2_grpc
from prometheus_client import REGISTRY

from services.gateway.adapters.classifier import GrpcClassifier
from services.gateway.adapters.health import GrpcHealth
from services.gateway.adapters.outbox_sqlite import SqliteOutbox
from services.gateway.batching import BatchingLimits, MicroBatcher
from services.gateway.clock import ClockWatch
from services.gateway.convert import record_encoder
from services.gateway.decision import ConfidenceThreshold
from services.gateway.detection.scan import prepare
from services.gateway.durability import assure
from services.gateway.edge import AI, edge, proxied
from services.gateway.governance import GovernedClassifier
from services.gateway.inputs import ModelInputs
from services.gateway.metrics import BatchSizes, GatewayMetrics
from services.gateway.ports import Outbox
from services.gateway.recording import Recorder
from services.gateway.rejections import RejectionTail
from services.gateway.relay import Relay
from services.gateway.scribe import Scribe
from services.gateway.servicer import AIServicer
from services.gateway.settings import Settings
from services.gateway.streaming import StreamLimits
from services.gateway.tenants import Tenants
from services.gateway.validation import Limits
from services.kernel.application import Application, Build, Task
from services.kernel.eventlog import connections
from services.kernel.eventlog.port import Publisher

_log = logging.getLogger(__name__)
_DRAIN_SECONDS = 0.5
_TEND_SECONDS = 1.0


def build(settings: Settings, publisher: Publisher | None = None) -> Build:
    """Returns the build of a gateway; without a `publisher` its events go to the log that the settings name."""
    return partial(_application, settings, publisher)


@asynccontextmanager
async def _application(settings: Settings, given: Publisher | None) -> AsyncIterator[Application]:
    async with AsyncExitStack() as closing:
        tenants = Tenants.from_files(settings.pseudonym_key_file, settings.tenants_file)
        if tenants.plain:
            _log.warning(
                "these tenants' masked values are plain SHA-256, which can be guessed and checked",
                extra={"tenants": list(tenants.plain)},
            )
        prepare()
        scribe = Scribe(tenants, ConfidenceThreshold(settings.confidence_threshold))
        settings.data.mkdir(parents=True, exist_ok=True)
        outbox = SqliteOutbox(
            settings.outbox_file,
            max_events=settings.outbox_max_events,
            max_bytes=settings.outbox_max_bytes,
            min_free_bytes=settings.outbox_min_free_bytes,
        )
        closing.callback(outbox.close)
        publisher = given or connections.publisher(settings.event_log)
        closing.push_async_callback(publisher.close)
        relay = Relay(outbox, publisher)
        closing.push_async_callback(_drain, relay)
        encode = record_encoder(f"{socket.gethostname()}/{os.getpid()}")
        assured = assure(settings.audit_durability, outbox, relay.wake, publisher, settings.broker_timeout_seconds)
        recorder = Recorder(outbox, encode, assured.durability)
        closing.push_async_callback(recorder.close)
        classifier = GrpcClassifier(settings.classifier_addresses)
        closing.push_async_callback(classifier.close)
        sizes = BatchSizes()
        batcher = MicroBatcher(classifier.classify, _batching(settings), sizes.observe)
        closing.push_async_callback(batcher.close)
        inputs = ModelInputs(classifier)
        governed = GovernedClassifier(
            limits=Limits(settings.max_text_bytes, settings.max_batch_texts),
            batcher=batcher,
            classifier=classifier,
            recorder=recorder,
            scribe=scribe,
            inputs=inputs,
        )
        rejections = RejectionTail(edge(settings).access_log, outbox, scribe, encode, relay.wake)
        neighbours = {}
        for part, address in (("audit", settings.audit_address), ("review", settings.review_address)):
            if address:
                neighbour = GrpcHealth(part, address)
                closing.push_async_callback(neighbour.close)
                neighbours[part] = neighbour.ping
        clock = ClockWatch()
        metrics = GatewayMetrics(sizes, batcher, outbox, relay, recorder, governed, assured, clock)
        REGISTRY.register(metrics)
        closing.callback(REGISTRY.unregister, metrics)
        servicer = AIServicer(
            governed,
            StreamLimits(settings.max_stream_items),
            settings.default_deadline_seconds,
            settings.longest_deadline_seconds,
        )
        tasks: dict[str, Task] = {
            "relay": relay.run,
            "outbox": partial(_tend, outbox, clock),
            "rejections": rejections.run,
        }
        tasks["inputs"] = inputs.run
        if assured.synced is not None:
            tasks["durability"] = assured.synced.watch
        yield Application(
            name="gateway",
            registrations=[partial(ai_pb2_grpc.add_AIServiceServicer_to_server, servicer)],
            service_names=[AI],
            checks={"classifier": classifier.ping, "outbox": partial(_check_outbox, outbox)},
            soft_checks={"eventlog": publisher.ping, **neighbours},
            tasks=tasks,
            proxied_names=list(proxied(settings)),
            refused=servicer.refused,
        )


def _batching(settings: Settings) -> BatchingLimits:
    classifiers = len(settings.classifier_addresses)
    return BatchingLimits(
        batch_texts=settings.micro_batch_texts,
        calls_in_flight=settings.micro_batch_calls * classifiers,
        slow_calls=settings.micro_batch_slow_calls * classifiers,
        waiting=settings.max_waiting_texts,
    )


async def _check_outbox(outbox: Outbox) -> None:
    outbox.check()


async def _tend(outbox: Outbox, clock: ClockWatch) -> None:
    while True:
        await asyncio.sleep(_TEND_SECONDS)
        clock.look()
        await outbox.tend()


async def _drain(relay: Relay) -> None:
    """Sends what is left, for a moment; what stays is in the file, and sent by the next process."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            await relay.drain()
