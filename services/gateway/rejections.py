"""Calls that Envoy refused by itself: no handler saw them, so their records are made from Envoy's own log of them.

Envoy writes a JSON object a line (services/kernel/hosting/replies.py says which fields). The records of new lines and
the place up to which the file has been read go into the outbox in one transaction, so no line is lost or taken twice.
What has been read is given back to the disk by punching a hole, under Envoy's hands: the file only looks long.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from services.gateway.ports import Bookmark, Entry, Outbox, OutboxUnavailable
from services.gateway.records import AuditRecord
from services.gateway.requests import DEFAULT_TENANT, Call, caller_name
from services.gateway.scribe import Scribe
from services.gateway.validation import check_tenant
from services.kernel.errors import AssayError, Reason
from services.kernel.faults import Fault

_BOOKMARK = "edge"
_CHUNK = 256 * 1024
_POLL_SECONDS = 0.25
_PAUSE_SECONDS = 2.0
_HOLE_BYTES = 16 << 20
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02  # linux/falloc.h

# Envoy's details of calls that a servicer saw, and recorded, before they ended like this.
_SEEN = frozenset(
    {"via_upstream", "downstream_remote_disconnect", "http2.remote_reset", "http3.remote_reset", "stream_idle_timeout"}
)

_log = logging.getLogger(__name__)

# What each HTTP status of Envoy's own means; replies.py tells the caller the same.
_BY_STATUS: dict[int, Reason] = {
    400: Reason.MESSAGE_MALFORMED,
    403: Reason.METHOD_UNKNOWN,
    404: Reason.METHOD_UNKNOWN,
    405: Reason.METHOD_UNKNOWN,
    408: Reason.DEADLINE_EXCEEDED,
    413: Reason.MESSAGE_TOO_LARGE,
    415: Reason.MESSAGE_MALFORMED,
    431: Reason.FIELD_INVALID,
    503: Reason.PART_UNAVAILABLE,
    504: Reason.DEADLINE_EXCEEDED,
}
_BY_GRPC_STATUS: dict[str, Reason] = {
    "cancelled": Reason.CANCELLED,
    "deadlineexceeded": Reason.DEADLINE_EXCEEDED,
    "internal": Reason.INTERNAL,
    "resourceexhausted": Reason.MESSAGE_TOO_LARGE,
    "unavailable": Reason.PART_UNAVAILABLE,
    "unimplemented": Reason.METHOD_UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """One call that Envoy refused."""

    method: str
    """The path, or the HTTP method and the path where it was no gRPC call."""

    caller: str
    tenant: str
    error: AssayError
    request_bytes: int
    time_ns: int
    latency: float


def parse(line: bytes) -> Rejection | None:
    """Reads one line; None when it tells of no refusal, or is no line of that log."""
    try:
        fields = json.loads(line)
        status = int(fields["status"] or 0)
        grpc_status = str(fields.get("grpc_status") or "").replace("_", "").lower()
        # With 0 or 499 the caller left before there was an answer, so none was refused.
        failed = status >= 400 or grpc_status not in ("", "ok", "-")
        if not failed or status in (0, 499) or fields.get("details") in _SEEN:
            return None
        path = str(fields["path"] or "")
        size = int(fields.get("request_bytes") or 0)
        ended = datetime.fromisoformat(fields["time"]).timestamp()
        latency = int(fields.get("duration_ms") or 0) / 1000
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return Rejection(
        method=path if status < 400 else f"{fields.get('method') or '?'} {path}",
        caller=caller_name(fields.get("caller")),
        tenant=_tenant(fields.get("tenant")),
        error=_error(status, grpc_status, path, size, fields),
        request_bytes=size,
        time_ns=int((ended + latency) * 1e9),
        latency=latency,
    )


def _tenant(claimed: object) -> str:
    try:
        return check_tenant("tenant", claimed if isinstance(claimed, str) else None)
    except AssayError:
        return DEFAULT_TENANT


def _error(status: int, grpc_status: str, path: str, size: int, fields: dict[str, object]) -> AssayError:
    reason = _BY_STATUS.get(status) or (_BY_GRPC_STATUS.get(grpc_status) if status < 400 else None)
    if reason is None:
        reason = Reason.INTERNAL if status >= 500 else None
    match reason:
        case None | Reason.MESSAGE_MALFORMED:
            field, fault = ("content-type", Fault.CONTENT_TYPE) if status == 415 else ("request", Fault.HTTP)
            found = {"field": fields.get("field") or field, "fault": fields.get("fault") or fault}
            return AssayError(Reason.MESSAGE_MALFORMED, **found)
        case Reason.METHOD_UNKNOWN:
            return AssayError(reason, method=path)
        case Reason.MESSAGE_TOO_LARGE:
            return AssayError(reason, bytes=size)
        case Reason.FIELD_INVALID:
            return AssayError(reason, field="headers", value="too large")
        case Reason.PART_UNAVAILABLE:
            return AssayError(reason, part="service")
        case _:
            return AssayError(reason)


class RejectionTail:
    """Follows Envoy's log and puts a record of each refusal into the outbox."""

    def __init__(
        self,
        path: Path,
        outbox: Outbox,
        scribe: Scribe,
        encode: Callable[[AuditRecord, None], list[Entry]],
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called after each commit, for the relay to look."""
        self._path = path
        self._outbox = outbox
        self._scribe = scribe
        self._encode = encode
        self._wake = wake
        self._punched = 0

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            try:
                more = self.read_once()
            except OutboxUnavailable:
                # The lines stay where they are.
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            await asyncio.sleep(0 if more else _POLL_SECONDS)

    def read_once(self) -> bool:
        """Takes the next lines, if there are any; says whether there may be more already.

        Raises:
            OutboxUnavailable: nothing was taken.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            state = os.fstat(file.fileno())
            offset = self._offset(state)
            if state.st_size <= offset:
                return False
            file.seek(offset)
            chunk = file.read(_CHUNK)
            whole = chunk.rfind(b"\n") + 1
            if whole == 0 and len(chunk) < _CHUNK:
                return False
            # A line longer than a chunk is none of Envoy's; it is passed over.
            taken = whole or len(chunk)
            entries = [entry for line in chunk[:whole].splitlines() for entry in self._entries(line)]
            self._outbox.append(entries, Bookmark(_BOOKMARK, state.st_ino, offset + taken))
            if entries:
                self._wake()
            self._give_back(offset + taken)
            return state.st_size > offset + taken

    def _offset(self, state: os.stat_result) -> int:
        """Where to read on: at the start when the file is another one, or was cut."""
        bookmark = self._outbox.bookmark(_BOOKMARK)
        if bookmark is None or bookmark.file != state.st_ino or bookmark.offset > state.st_size:
            return 0
        return bookmark.offset

    def _entries(self, line: bytes) -> list[Entry]:
        rejection = parse(line)
        if rejection is None:
            return []
        call = Call(rejection.method, rejection.caller, 0.0, 0.0, rejection.tenant)
        record = self._scribe.past_call(
            call, rejection.error, rejection.request_bytes, time_ns=rejection.time_ns, latency=rejection.latency
        )
        return self._encode(record, None)

    def _give_back(self, through: int) -> None:
        if through - self._punched < _HOLE_BYTES:
            return
        self._punched = through
        try:
            with self._path.open("rb+") as file:
                fallocate = ctypes.CDLL(None, use_errno=True).fallocate
                fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
                if fallocate(file.fileno(), _KEEP_SIZE | _PUNCH_HOLE, 0, through) != 0:
                    _log.warning("the edge's log keeps its length on this file system")
        except (OSError, AttributeError):
            _log.warning("the edge's log keeps its length on this system")
