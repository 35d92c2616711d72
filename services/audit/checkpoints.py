"""Signs the log's tree as it grows and carries the checkpoints out of the database, where no one can take them back.

A checkpoint is kept in the store, appended to a file, and published on the topic of checkpoints. Before each one the
stored tree is held against the one before, in the store and in the file: a log that was cut, rolled back or rewritten
is not signed again, and nothing is appended to it any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from services.audit.adapters.notebook import Notebook
from services.audit.events import Arrival
from services.audit.merkle import tiles
from services.audit.merkle.notes import Checkpoint, NoteInvalid, Signer, open_note
from services.audit.merkle.tiles import TreeDamaged
from services.audit.ports import EventStore, TreeBroken, View
from services.audit.proofs import require_consistent
from services.kernel.eventlog.port import Event, EventLogUnavailable, Publisher
from services.kernel.eventlog.topics import CHECKPOINT_TOPIC
from services.kernel.stores import Stored, StoreUnavailable

_log = logging.getLogger(__name__)


class Checkpointer:
    """Signs, keeps and publishes; a Sink before the store that takes nothing while the tree is not the signed one.

    Also a Prometheus collector.
    """

    def __init__(
        self,
        store: EventStore,
        signer: Signer,
        notebook: Notebook,
        publisher: Publisher,
        interval_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A checkpoint is made at most once in `interval_seconds`."""
        self._store = store
        self._signer = signer
        self._notebook = notebook
        self._publisher = publisher
        self._interval = interval_seconds
        self._clock = clock
        self._newest: Checkpoint | None = None
        self._note = ""
        self._published = 0
        self._grew = asyncio.Event()
        self._checked = False
        self._size = 0
        self._late_since: float | None = None
        self._unpublished_since: float | None = None
        self.broken: TreeBroken | None = None
        """Why nothing is appended; None while all is well."""

    @property
    def late(self) -> bool:
        """Whether the last attempt to make a checkpoint failed."""
        return self._late_since is not None

    async def put(self, items: Sequence[Arrival]) -> Sequence[Stored]:
        """Stores items as EventStore.put does, once the stored tree was found to be the signed one.

        Raises:
            StoreUnavailable: TreeBroken too, from then on and until the service is started again.
            Refused
        """
        await self.require_intact()
        try:
            return await self._store.put(items)
        except TreeBroken as fault:
            self._break(fault)
            raise

    async def require_intact(self) -> None:
        """Returns when the stored tree is the signed one as far as is known, and looks the first time.

        Raises:
            StoreUnavailable: it can't be looked at; TreeBroken: it is not.
        """
        if self.broken is not None:
            raise self.broken
        if not self._checked:
            await self._check()

    async def run(self) -> None:
        """Signs as the tree grows, until cancelled. What fails is tried again."""
        while True:
            try:
                await self.sign()
                self._late_since = None
            except (StoreUnavailable, OSError) as fault:
                if self._late_since is None:
                    self._late_since = self._clock()
                    if self.broken is None:
                        _log.warning("no checkpoint could be made", extra={"fault": type(fault).__name__})
            await asyncio.sleep(self._interval)

    async def sign(self) -> None:
        """Makes a checkpoint of the tree as it is, unless there is one; kept in file and store when it returns.

        Raises:
            StoreUnavailable: TreeBroken too.
            OSError: the file can't be written.
        """
        await self.require_intact()
        older = self._newest

        def look(view: View) -> tuple[int, bytes]:
            if older is not None:
                require_consistent(older, view)
            size = view.size()
            return size, tiles.root(size, view.tile)

        try:
            size, root = await self._store.view(look)
        except TreeDamaged as fault:
            raise self._break(TreeBroken(str(fault))) from fault
        except TreeBroken as fault:
            raise self._break(fault) from None
        self._size = size
        if older is not None and size == older.size:
            return
        newest = Checkpoint(self._signer.name, size, root)
        note = self._signer.sign(newest)
        await asyncio.to_thread(self._notebook.append, note)
        await self._store.save_checkpoint(size, note)
        self._newest, self._note = newest, note
        self._grew.set()

    async def publish(self) -> None:
        """Publishes the newest checkpoint whenever there is one, until cancelled; again until it is confirmed."""
        while True:
            await self._grew.wait()
            self._grew.clear()
            newest, note = self._newest, self._note
            if newest is None:
                continue
            try:
                await self._publisher.publish(CHECKPOINT_TOPIC, [Event(str(newest.size), note.encode())])
                self._published = newest.size
                if self._unpublished_since is not None:
                    self._unpublished_since = None
                    _log.info("checkpoints are published again", extra={"size": newest.size})
            except EventLogUnavailable:
                if self._unpublished_since is None:
                    self._unpublished_since = self._clock()
                    _log.warning("a checkpoint could not be published", extra={"size": newest.size})
                self._grew.set()
                await asyncio.sleep(self._interval)

    async def ping(self) -> None:
        """Returns while the stored tree is the signed one. Raises TreeBroken when not; names the fault in the log."""
        if self.broken is not None:
            raise self.broken

    async def ping_publication(self) -> None:
        """Returns while checkpoints reach their topic. Raises StoreUnavailable when the newest one did not."""
        if self._unpublished_since is not None:
            raise StoreUnavailable("topic of checkpoints")

    async def _check(self) -> None:
        """Holds the stored tree against the newest checkpoint of the store and that of the file."""
        kept = await self._store.view(lambda view: view.newest_checkpoint())
        written = await asyncio.to_thread(self._notebook.newest)
        try:
            held = [open_note(note, [self._signer.verifier]) for note in (kept, written) if note]
        except NoteInvalid as fault:
            raise self._break(TreeBroken(f"the newest checkpoint can't be trusted: {fault}")) from None

        def look(view: View) -> None:
            for checkpoint in held:
                require_consistent(checkpoint, view)

        try:
            await self._store.view(look)
        except TreeBroken as fault:
            raise self._break(fault) from None
        if kept:
            self._newest, self._note = held[0], kept
            if held[0].size > (held[-1].size if written else -1):
                await asyncio.to_thread(self._notebook.append, kept)  # another instance made it, or the file is new
            self._grew.set()  # it may be one that was never published
        self._checked = True

    def _break(self, fault: TreeBroken) -> TreeBroken:
        if self.broken is None:
            self.broken = fault
            _log.critical("the audit log is not what was signed; nothing is appended", extra={"fault": fault.fault})
        return fault

    def collect(self) -> Iterator[Metric]:
        """Yields the figures as Prometheus metric families."""
        now = self._clock()
        signed = self._newest.size if self._newest else 0
        for name, words, value in (
            ("assay_audit_entries", "Entries of the log, as last looked at.", max(self._size, signed)),
            ("assay_audit_checkpoint_entries", "Entries that the newest checkpoint covers.", signed),
            ("assay_audit_published_entries", "Entries that the newest published checkpoint covers.", self._published),
            ("assay_audit_tree_intact", "0 when the stored tree is not the signed one.", self.broken is None),
            ("assay_audit_checkpoint_late_seconds", "How long none could be made.", _since(self._late_since, now)),
            ("assay_audit_unpublished_seconds", "How long none was published.", _since(self._unpublished_since, now)),
        ):
            family = GaugeMetricFamily(name, words)
            family.add_metric([], float(value))
            yield family


def _since(start: float | None, now: float) -> float:
    return 0.0 if start is None else now - start
