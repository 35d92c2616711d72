"""A log as someone outside reaches it: a server that answers, files that were kept, and the key to check them with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

from cli.client import CALL_SECONDS, CallFailed
from cli.failure import CommandFailed
from services.audit.merkle.entries import to_entry
from services.audit.merkle.notes import Checkpoint, KeyInvalid, NoteInvalid, Verifier, open_note, split_notes
from services.audit.merkle.verification import EntriesBroken, Entry
from services.kernel.errors import Reason

PAGE_ENTRIES = 1000
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 256 << 20))


class NoCheckpoint(CallFailed):
    """The log has not signed anything yet."""


class LogDamaged(EntriesBroken):
    """The server says itself that its log is damaged. `index` is the entry that it names, None where it names none."""

    def __init__(self, words: str, place: str) -> None:
        super().__init__(words)
        number = place.removeprefix("entry ")
        self.index = int(number) if number != place and number.isdecimal() else None


class LiveLog:
    """The audit log of a server at `address`, host:port. Use it as a context manager; everything raises CallFailed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._stub = audit_pb2_grpc.AuditServiceStub(self._channel)

    def __enter__(self) -> LiveLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def checkpoint(self) -> str:
        """Returns the newest checkpoint, a signed note that nobody checked yet.

        Raises:
            NoCheckpoint
            LogDamaged
        """
        note: str = self._ask(self._stub.GetCheckpoint, audit_pb2.GetCheckpointRequest()).checkpoint
        return note

    def entries(self, end: int) -> Iterator[Entry]:
        """Yields entries from 0 to `end` - 1, fewer where the log ends before.

        Raises:
            LogDamaged: at the entry that would come next, or behind it.
        """
        for page in self._pages(0, end, hashes_only=False):
            yield from map(to_entry, page)

    def entry(self, index: int) -> Entry | None:
        """Returns an entry; None where the log has none."""
        page = next(self._pages(index, index + 1, hashes_only=False), ())
        return to_entry(page[0]) if page and page[0].index == index else None

    def search(self, **filters: Any) -> Iterator[audit_pb2.AuditEvent]:
        """Yields all events that a search finds, newest first; `filters` are those of ListEventsRequest."""
        request = audit_pb2.ListEventsRequest(page_size=PAGE_ENTRIES, **filters)
        while True:
            page = self._ask(self._stub.ListEvents, request)
            yield from page.events
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def place(self, event_id: str) -> int | None:
        """Returns the entry that an event is said to be; None when there is no such event any more."""
        try:
            index: int = self._ask(self._stub.GetEvent, audit_pb2.GetEventRequest(event_id=event_id)).index
        except CallFailed as failure:
            if failure.reason == Reason.EVENT_UNKNOWN.name:
                return None
            raise
        return index

    def leaf_hashes(self, start: int, end: int) -> Iterator[bytes]:
        """Yields the leaf hashes of entries `start` to `end` - 1, fewer where the log ends before.

        Raises:
            EntriesBroken: the server leaves some out.
        """
        expected = start
        for page in self._pages(start, end, hashes_only=True):
            for entry in page:
                if entry.index != expected:
                    raise EntriesBroken(f"the server gave entry {entry.index} for {expected}")
                expected += 1
                yield entry.leaf_hash

    def consistency(self, first: int, second: int) -> Sequence[bytes]:
        """Returns the server's proof that its first `first` entries begin its first `second`; not checked yet."""
        request = audit_pb2.GetConsistencyProofRequest(first_size=first, second_size=second)
        path: Sequence[bytes] = self._ask(self._stub.GetConsistencyProof, request).path
        return path

    def _pages(self, start: int, end: int, hashes_only: bool) -> Iterator[Sequence[audit_pb2.LogEntry]]:
        while start < end:
            request = audit_pb2.ListEntriesRequest(
                start_index=start, page_size=min(PAGE_ENTRIES, end - start), hashes_only=hashes_only
            )
            page = self._ask(self._stub.ListEntries, request).entries
            if not page:
                return
            yield page
            start += len(page)

    def _ask(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            code, words = error.code(), error.details() or ""
            info = _error_info(error)
            reason = str(info.reason)
            if code is grpc.StatusCode.DATA_LOSS:
                raise LogDamaged(words, info.metadata.get("place", "")) from None
            if code is grpc.StatusCode.UNAVAILABLE and not reason:
                words = f"nothing answers at {self.address}; is the mesh running? (assay status)"
            failure = NoCheckpoint if reason == Reason.PROOF_PENDING.name else CallFailed
            raise failure(code.name, words, reason) from None


def _error_info(error: Any) -> error_details_pb2.ErrorInfo:
    """Returns the catalogue's reason of a failed call, with its metadata; empty where the service did not fail it."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Is(info.DESCRIPTOR):
                    detail.Unpack(info)
    return info


def public_key(given: str) -> Verifier:
    """Reads a public key: the key itself, "name+id+key", or a file that holds it.

    Raises:
        CommandFailed: it is neither.
    """
    file = Path(given)
    try:
        text = file.read_text() if file.is_file() else given
        return Verifier.parse(text)
    except (OSError, UnicodeDecodeError, KeyInvalid) as fault:
        words = fault if isinstance(fault, KeyInvalid) else f"{file} can't be read"
        raise CommandFailed(f"--public-key: {words}") from None


def read_checkpoints(file: Path, verifier: Verifier) -> list[Checkpoint]:
    """Reads a file of one or several signed notes and checks each.

    Raises:
        CommandFailed: it can't be read, or one of them is not signed with the key.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as fault:
        raise CommandFailed(f"{file} can't be read: {type(fault).__name__}") from None
    found: list[Checkpoint] = []
    try:
        found.extend(open_note(note, [verifier]) for note in split_notes(text))
    except NoteInvalid as fault:
        raise CommandFailed(f"{file}, checkpoint {len(found) + 1}: {fault}") from None
    if not found:
        raise CommandFailed(f"{file} holds no checkpoint")
    return found
