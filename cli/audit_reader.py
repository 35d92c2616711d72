"""The audit log as commands read it, message by message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from assay.audit.v1 import audit_pb2, audit_pb2_grpc

from cli.client import CALL_SECONDS, call_failed
from cli.folder import running_mesh

PAGE = 1000
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 256 << 20))


class AuditReader:
    """The AuditService at `address`, host:port. Use it as a context manager; everything raises CallFailed."""

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

    def event_pages(self, filters: dict[str, Any]) -> Iterator[Sequence[audit_pb2.AuditEvent]]:
        """Yields the events that pass, newest first; each once, however many come meanwhile."""
        request = audit_pb2.ListEventsRequest(page_size=PAGE, **filters)
        while True:
            page = self._ask(self._stub.ListEvents, request)
            yield page.events
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def entry_pages(self, start: int, end: int) -> Iterator[Sequence[audit_pb2.LogEntry]]:
        """Yields entries `start` to `end` - 1, fewer where the log ends before."""
        while start < end and (page := self.entries(start, min(PAGE, end - start))):
            yield page
            start += len(page)

    def entries(self, start: int, count: int) -> Sequence[audit_pb2.LogEntry]:
        """Returns some entries, at most 1,000."""
        request = audit_pb2.ListEntriesRequest(start_index=start, page_size=count)
        found: Sequence[audit_pb2.LogEntry] = self._ask(self._stub.ListEntries, request).entries
        return found

    def checkpoint(self) -> audit_pb2.GetCheckpointResponse:
        """Returns the newest checkpoint, which nobody checked yet."""
        found: audit_pb2.GetCheckpointResponse = self._ask(self._stub.GetCheckpoint, audit_pb2.GetCheckpointRequest())
        return found

    def inclusion(self, event_id: str) -> audit_pb2.GetInclusionProofResponse:
        """Returns the server's proof that an event is in the log; not checked yet."""
        found: audit_pb2.GetInclusionProofResponse = self._ask(
            self._stub.GetInclusionProof, audit_pb2.GetInclusionProofRequest(event_id=event_id)
        )
        return found

    def _ask(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise call_failed(error, self.address) from None
