"""The audit log of a server, as every command reads it. Nothing that it says was checked yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from assay.audit.v1 import audit_pb2, audit_pb2_grpc

from cli.client import CALL_SECONDS, CallFailed, call_failed
from cli.folder import running_mesh
from services.audit.merkle.entries import to_entry
from services.audit.merkle.verification import EntriesBroken, Entry
from services.kernel.errors import Reason

PAGE = 1000
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 256 << 20))


class LogDamaged(CallFailed, EntriesBroken):
    """The server says itself that its log is damaged: a call that failed, and to a verifier a finding."""

    def __str__(self) -> str:
        return self.text

    @property
    def index(self) -> int | None:
        """The entry that it names; None where it names none."""
        place = self.metadata.get("place", "")
        number = place.removeprefix("entry ")
        return int(number) if number != place and number.isdecimal() else None


class AuditReader:
    """The AuditService at `address`, host:port. Use it as a context manager.

    Everything raises CallFailed, LogDamaged among it.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._stub = audit_pb2_grpc.AuditServiceStub(self._channel)

    @classmethod
    def of(cls, address: str | None, data: Path) -> AuditReader:
        """Returns that of an address, or of the mesh that runs in `data`. Raises CommandFailed: none does."""
        return cls(address or running_mesh(data)["public"])

    def __enter__(self) -> AuditReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def event_pages(self, **filters: Any) -> Iterator[Sequence[audit_pb2.AuditEvent]]:
        """Yields the events that pass, newest first; each once, however many come meanwhile.

        `filters` are those of ListEventsRequest.
        """
        request = audit_pb2.ListEventsRequest(page_size=PAGE, **filters)
        while True:
            page = self._ask(self._stub.ListEvents, request)
            yield page.events
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def events(self, **filters: Any) -> Iterator[audit_pb2.AuditEvent]:
        """Yields the same one by one."""
        for page in self.event_pages(**filters):
            yield from page

    def place(self, event_id: str) -> int | None:
        """Returns the entry that an event is said to be; None when there is no such event any more."""
        try:
            index: int = self._ask(self._stub.GetEvent, audit_pb2.GetEventRequest(event_id=event_id)).index
        except CallFailed as failure:
            if failure.reason == Reason.EVENT_UNKNOWN.name:
                return None
            raise
        return index

    def entry_pages(self, start: int, end: int, hashes_only: bool = False) -> Iterator[Sequence[audit_pb2.LogEntry]]:
        """Yields entries `start` to `end` - 1 as they are stored, fewer where the log ends before."""
        while start < end:
            size = min(PAGE, end - start)
            request = audit_pb2.ListEntriesRequest(start_index=start, page_size=size, hashes_only=hashes_only)
            page = self._ask(self._stub.ListEntries, request).entries
            if not page:
                return
            yield page
            start += len(page)

    def entries(self, start: int, end: int) -> Iterator[Entry]:
        """Yields the same one by one, as a verifier takes them."""
        for page in self.entry_pages(start, end):
            yield from map(to_entry, page)

    def entry(self, index: int) -> Entry | None:
        """Returns an entry; None where the log has none."""
        found = next(self.entries(index, index + 1), None)
        return found if found and found.place == index else None

    def leaf_hashes(self, start: int, end: int) -> Iterator[bytes]:
        """Yields the leaf hashes of entries `start` to `end` - 1, fewer where the log ends before.

        Raises:
            EntriesBroken: the server leaves some out.
        """
        expected = start
        for page in self.entry_pages(start, end, hashes_only=True):
            for entry in page:
                if entry.index != expected:
                    raise EntriesBroken(f"the server gave entry {entry.index} for {expected}")
                expected += 1
                yield entry.leaf_hash

    def checkpoint(self) -> audit_pb2.GetCheckpointResponse:
        """Returns the newest checkpoint, a signed note."""
        found: audit_pb2.GetCheckpointResponse = self._ask(self._stub.GetCheckpoint, audit_pb2.GetCheckpointRequest())
        return found

    def inclusion(self, event_id: str) -> audit_pb2.GetInclusionProofResponse:
        """Returns the server's proof that an event is in the log."""
        request = audit_pb2.GetInclusionProofRequest(event_id=event_id)
        found: audit_pb2.GetInclusionProofResponse = self._ask(self._stub.GetInclusionProof, request)
        return found

    def consistency(self, first: int, second: int) -> Sequence[bytes]:
        """Returns the server's proof that its first `first` entries begin its first `second`."""
        request = audit_pb2.GetConsistencyProofRequest(first_size=first, second_size=second)
        path: Sequence[bytes] = self._ask(self._stub.GetConsistencyProof, request).path
        return path

    def _ask(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            failure = call_failed(error, self.address)
            if error.code() is grpc.StatusCode.DATA_LOSS:
                failure = LogDamaged(failure.code, failure.text, failure.reason, failure.metadata)
            raise failure from None
