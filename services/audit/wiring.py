"""Builds the audit service, and closes it in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from prometheus_client import REGISTRY

from services.audit import convert
from services.audit.adapters.notebook import Notebook
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.adapters.store import SqlEventStore
from services.audit.checkpoints import Checkpointer
from services.audit.log import AuditLog
from services.audit.merkle.notes import Signer
from services.audit.proofs import Prover
from services.audit.servicer import AuditServicer
from services.audit.settings import Settings
from services.audit.vault import Vault
from services.kernel.application import Application, Build
from services.kernel.consumer import Consumer
from services.kernel.eventlog import connections
from services.kernel.eventlog.port import AUDIT_TOPIC

_GROUP = "audit"


def build(settings: Settings) -> Build:
    """Returns the build of an audit service."""
    return partial(_application, settings)


def _store(settings: Settings, vault: Vault) -> SqlEventStore:
    if not settings.store:
        return SqliteEventStore(settings.data / "audit.sqlite3", vault)
    from services.audit.adapters.postgres import PostgresEventStore  # late: SQLite should not wait for its library

    password_file = Path(settings.store_password_file) if settings.store_password_file else None
    return PostgresEventStore(settings.store, vault, password_file)


@asynccontextmanager
async def _application(settings: Settings) -> AsyncIterator[Application]:
    async with AsyncExitStack() as closing:
        signer = Signer.from_file(settings.signing_key_file)
        store = _store(settings, Vault.from_file(settings.key_file))
        closing.push_async_callback(store.close)
        publisher = connections.publisher(settings.event_log)
        closing.push_async_callback(publisher.close)
        notebook = Notebook(settings.data / "checkpoints.log")
        checkpointer = Checkpointer(store, signer, notebook, publisher, settings.checkpoint_seconds)
        REGISTRY.register(checkpointer)
        closing.callback(REGISTRY.unregister, checkpointer)
        subscription = connections.subscription(settings.event_log, AUDIT_TOPIC, _GROUP, settings.consumer)
        closing.push_async_callback(subscription.close)
        consumer = Consumer(AUDIT_TOPIC, subscription, convert.to_arrival, checkpointer)
        REGISTRY.register(consumer)
        closing.callback(REGISTRY.unregister, consumer)
        servicer = AuditServicer(AuditLog(store), Prover(store, signer.verifier))
        yield Application(
            name="audit",
            registrations=[partial(audit_pb2_grpc.add_AuditServiceServicer_to_server, servicer)],
            service_names=[audit_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name],
            checks={"store": store.ping},
            # What is stored can be read while nothing new comes in.
            soft_checks={
                "eventlog": subscription.ping,
                "tree": checkpointer.ping,
                "checkpoints": checkpointer.ping_publication,
            },
            tasks={"consumer": consumer.run, "checkpoints": checkpointer.run, "publication": checkpointer.publish},
        )
