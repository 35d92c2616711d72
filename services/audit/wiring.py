"""Builds the audit service, and closes it in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from prometheus_client import REGISTRY

from services.audit import convert
from services.audit.adapters.custody import SqlCustody, empty_log
from services.audit.adapters.notebook import Notebook
from services.audit.adapters.objects import UrlObjects
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.adapters.store import SqlEventStore
from services.audit.admin import AuditAdminServicer
from services.audit.archive import Archiver
from services.audit.checkpoints import Checkpointer
from services.audit.erasure import Erasure
from services.audit.events import Entry
from services.audit.holds import HoldDesk
from services.audit.log import AuditLog
from services.audit.merkle.entries import framed
from services.audit.merkle.notes import Signer
from services.audit.proofs import Prover
from services.audit.retention import Retention
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


def _custody(settings: Settings, store: SqlEventStore, require_intact: Callable[[], Awaitable[None]]) -> SqlCustody:
    if not settings.store:
        return SqlCustody(store, require_intact, scrub=partial(empty_log, settings.data / "audit.sqlite3"))
    from services.audit.adapters.partitions import shrink  # late, as above

    return SqlCustody(store, require_intact, shrink=shrink)


def _framed(entry: Entry) -> bytes:
    return framed(convert.from_entry(entry))


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
        dead_letters = connections.dead_letters(settings.event_log, AUDIT_TOPIC, settings.consumer)
        closing.push_async_callback(dead_letters.close)
        consumer = Consumer(_GROUP, subscription, dead_letters, convert.to_arrival, checkpointer)
        REGISTRY.register(consumer)
        closing.callback(REGISTRY.unregister, consumer)
        custody = _custody(settings, store, checkpointer.require_intact)
        retention = Retention(custody, settings.retention_days)
        REGISTRY.register(retention)
        closing.callback(REGISTRY.unregister, retention)
        objects = UrlObjects(settings.archive) if settings.archive else None
        archiver = Archiver(custody, store, objects, _framed)
        admin = AuditAdminServicer(HoldDesk(custody), Erasure(custody), retention, archiver)
        servicer = AuditServicer(AuditLog(store), Prover(store, signer.verifier))
        yield Application(
            name="audit",
            registrations=[
                partial(audit_pb2_grpc.add_AuditServiceServicer_to_server, servicer),
                partial(audit_pb2_grpc.add_AuditAdminServiceServicer_to_server, admin),
            ],
            service_names=[
                audit_pb2.DESCRIPTOR.services_by_name[name].full_name for name in ("AuditService", "AuditAdminService")
            ],
            checks={"store": store.ping},
            # What is stored can be read while nothing new comes in.
            soft_checks={
                "eventlog": subscription.ping,
                "consumer": consumer.check,
                "tree": checkpointer.ping,
                "clock": retention.ping,
                "checkpoints": checkpointer.ping_publication,
            },
            tasks={
                "consumer": consumer.run,
                "checkpoints": checkpointer.run,
                "publication": checkpointer.publish,
                "retention": retention.run,
            },
        )
