"""Builds the review service, and closes it in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from assay.review.v1 import review_pb2, review_pb2_grpc
from prometheus_client import REGISTRY

from services.kernel.application import Application, Build
from services.kernel.consumer import Consumer
from services.kernel.eventlog import connections
from services.kernel.eventlog.port import REVIEW_TOPIC
from services.review import convert
from services.review.adapters.sqlite import SqliteTaskStore
from services.review.desk import ReviewDesk
from services.review.servicer import ReviewServicer
from services.review.settings import Settings

_GROUP = "review"


def build(settings: Settings) -> Build:
    """Returns the build of a review service."""
    return partial(_application, settings)


@asynccontextmanager
async def _application(settings: Settings) -> AsyncIterator[Application]:
    async with AsyncExitStack() as closing:
        store = SqliteTaskStore(settings.data / "review.sqlite3")
        closing.push_async_callback(store.close)
        subscription = connections.subscription(settings.event_log, REVIEW_TOPIC, _GROUP, settings.consumer)
        closing.push_async_callback(subscription.close)
        dead_letters = connections.dead_letters(settings.event_log, REVIEW_TOPIC, settings.consumer)
        closing.push_async_callback(dead_letters.close)
        consumer = Consumer(_GROUP, subscription, dead_letters, convert.to_task_request, store)
        REGISTRY.register(consumer)
        closing.callback(REGISTRY.unregister, consumer)
        servicer = ReviewServicer(ReviewDesk(store))
        yield Application(
            name="review",
            registrations=[partial(review_pb2_grpc.add_ReviewServiceServicer_to_server, servicer)],
            service_names=[review_pb2.DESCRIPTOR.services_by_name["ReviewService"].full_name],
            checks={"store": store.ping},
            # What is stored can be read while nothing new comes in.
            soft_checks={"eventlog": subscription.ping, "consumer": consumer.check},
            tasks={"consumer": consumer.run},
        )
