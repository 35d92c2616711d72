"""Builds the classifier: bundles, Triton's connections, queues, servicer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from assay.classifier.v1 import classifier_pb2, classifier_pb2_grpc
from prometheus_client import REGISTRY

from services.classifier.adapters.triton import TritonServers
from services.classifier.batches import GroupLimits
from services.classifier.bundle import load_catalogue
from services.classifier.classification import Classifier
from services.classifier.encoding import EncodingQueue
from services.classifier.figures import EncoderCollector, EncoderFigures
from services.classifier.manifest import EncoderRef
from services.classifier.resolution import Resolver
from services.classifier.servicer import ClassifierServicer
from services.classifier.settings import Settings
from services.classifier.triton.server import model_name
from services.kernel.application import Application, Build


def build(settings: Settings) -> Build:
    """Returns the build of a classifier with these settings.

    Building raises BundleError where a model bundle can't be trusted; it does not wait for Triton.
    """

    @asynccontextmanager
    async def application() -> AsyncIterator[Application]:
        catalogue = load_catalogue(settings.models)
        names = {EncoderRef(e.name, e.version): model_name(e.name, e.version) for e in catalogue.encoders}
        dimensions = {EncoderRef(e.name, e.version): e.dimension for e in catalogue.encoders}
        servers = TritonServers(settings.triton_addresses, tuple(names.values()), settings.calls_ahead)
        limits = GroupLimits(settings.group_rows, settings.group_tokens, settings.call_tokens)
        figures = {name: EncoderFigures() for name in names.values()}
        queues = {
            ref: EncodingQueue(
                servers.encoder(name, dimensions[ref]),
                dimensions[ref],
                limits,
                settings.waiting,
                figures[name].observe,
            )
            for ref, name in names.items()
        }
        collector = EncoderCollector(figures, {names[ref]: queue for ref, queue in queues.items()})
        # One thread: tokenising beside the event loop is for not holding it up, the cores belong to Triton.
        threads = ThreadPoolExecutor(1, "tokenise")
        resolver = Resolver(catalogue.heads)
        servicer = ClassifierServicer(
            Classifier(catalogue, resolver, queues, threads), resolver, settings.answer_seconds
        )
        await servers.probe_all()
        REGISTRY.register(collector)
        try:
            yield Application(
                name="classifier",
                registrations=[partial(classifier_pb2_grpc.add_ClassifierServiceServicer_to_server, servicer)],
                service_names=[classifier_pb2.DESCRIPTOR.services_by_name["ClassifierService"].full_name],
                checks={"triton": servers.check_reachable, "encoder": servers.check_models},
                tasks={"triton-watch": servers.watch},
            )
        finally:
            REGISTRY.unregister(collector)
            for queue in queues.values():
                await queue.close()
            threads.shutdown(cancel_futures=True)
            await servers.close()

    return application
