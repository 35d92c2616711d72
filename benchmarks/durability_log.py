"""Reads the audit log of the durability benchmark as a stranger would: through its public service, believing nothing.

Every entry's leaf hash is computed again from its bytes, the tree is built again from the hashes, and every checkpoint,
those of the service and those that it published in its file, must be signed by the key that was there at the start and
have the root of the rebuilt tree at its size. Entries that were read once are not read again: their hashes are in the
rebuilt tree, so a log that changed one of them has another root.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import grpc
from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.durability_oracle import Record
from services.audit.merkle import tiles
from services.audit.merkle.hashing import leaf_hash
from services.audit.merkle.notes import NoteInvalid, Verifier, open_note, split_notes, whole_notes
from services.kernel.errors import Reason

_CALL_SECONDS = 10.0
_PAGE = 1000
_MARGIN_NS = 1_000_000_000
_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 300)]


class LogUnreadable(Exception):
    """The audit service does not answer, or not now."""


class AuditLog:
    """What has been read of one audit log, and what was wrong with it. Grows with `read`."""

    def __init__(self, address: str, published: Path) -> None:
        """`address`: the audit service, host:port; `published`: the file of its checkpoints."""
        self.records: dict[str, Record] = {}
        self.leaves: Counter[str] = Counter()
        self.size = 0
        self.signed = 0
        """How many entries the newest checkpoint is of."""
        self.checkpoints = 0
        """Checkpoints that were verified."""
        self.faults: list[str] = []
        """Why the log does not verify."""
        self._published = published
        self._published_at = 0
        self._verifiers: list[Verifier] = []
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._audit = audit_pb2_grpc.AuditServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def read(self, since_ns: int) -> None:
        """Reads what is new; `since_ns` is a Unix time before which nothing new was made.

        Raises:
            LogUnreadable
        """
        try:
            await self._read_events(since_ns - _MARGIN_NS)
            await self._read_entries()
        except grpc.aio.AioRpcError as error:
            raise LogUnreadable(f"{error.code().name}: {error.details()}") from None

    async def verify(self) -> None:
        """Checks the checkpoints that are new, against the tree as it has been read.

        Raises:
            LogUnreadable
        """
        # Checkpoints first and entries after them, because the log may grow in between.
        text = self._published.read_text() if self._published.exists() else ""
        try:
            answer = await self._audit.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=_CALL_SECONDS)
            await self._read_entries()
        except grpc.aio.AioRpcError as error:
            raise LogUnreadable(f"{error.code().name}: {error.details()}") from None
        if not self._verifiers:
            self._verifiers = [Verifier.parse(answer.public_key)]
        signed = self._check(answer.checkpoint, "the newest checkpoint")
        if signed < self.signed:
            self.faults.append(f"the newest checkpoint is of {signed} entries, and was of {self.signed}")
        self.signed = signed
        if len(text) < self._published_at:
            self.faults.append(f"{self._published.name} got shorter")
        fresh = text[self._published_at :]
        whole = fresh[: whole_notes(fresh)]
        self._published_at += len(whole)
        for note in split_notes(whole):
            self._check(note, f"a checkpoint in {self._published.name}")

    def _check(self, note: str, which: str) -> int:
        """Returns how many entries a checkpoint is of; 0 when it is none."""
        try:
            checkpoint = open_note(note, self._verifiers)
        except NoteInvalid as fault:
            self.faults.append(f"{which}: {fault}")
            return 0
        self.checkpoints += 1
        if checkpoint.size > self.size:
            self.faults.append(f"{which} is of {checkpoint.size} entries; the log has {self.size}")
        elif tiles.root(checkpoint.size, self._tile) != checkpoint.root:
            self.faults.append(f"{which}, of {checkpoint.size} entries, has another root than the entries")
        return checkpoint.size

    async def _read_events(self, since_ns: int) -> None:
        request = audit_pb2.ListEventsRequest(page_size=_PAGE, start_time=_timestamp(since_ns))
        while True:
            page = await self._audit.ListEvents(request, timeout=_CALL_SECONDS)
            for event in page.events:
                self.records[event.event_id] = _record(event)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def _read_entries(self) -> None:
        while True:
            request = audit_pb2.ListEntriesRequest(start_index=self.size, page_size=_PAGE)
            page = await self._audit.ListEntries(request, timeout=_CALL_SECONDS)
            if not page.entries:
                return
            for entry in page.entries:
                await self._take(entry)

    async def _take(self, entry: audit_pb2.LogEntry) -> None:
        if entry.index != self.size:
            self.faults.append(f"entry {entry.index} is listed in the place of {self.size}")
        if leaf_hash(entry.record) != entry.leaf_hash:
            self.faults.append(f"the leaf hash of entry {entry.index} is not that of its record")
        event_id = audit_pb2.AuditRecord.FromString(entry.record).event.event_id
        if event_id not in self.records:
            await self._fetch(event_id)
        self._tiles |= tiles.append(self.size, [leaf_hash(entry.record)], self._tile)
        self.leaves[event_id] += 1
        self.size += 1

    async def _fetch(self, event_id: str) -> None:
        """Gets one event that was made before the others that are new; where there is none, the oracle will say so."""
        try:
            request = audit_pb2.GetEventRequest(event_id=event_id)
            answer = await self._audit.GetEvent(request, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        else:
            self.records[event_id] = _record(answer.event)

    def _tile(self, level: int, number: int) -> bytes:
        return self._tiles.get((level, number), b"")


def _record(event: audit_pb2.AuditEvent) -> Record:
    reason = ""
    match event.WhichOneof("outcome"):
        case "error":
            reason = Reason(event.error.reason).name
        case "action":
            reason = "an action"
    return Record(event.event_id, event.request_id, event.caller, event.answer.label, reason)


def _timestamp(time_ns: int) -> Timestamp:
    made = Timestamp()
    made.FromNanoseconds(time_ns)
    return made
