"""A gRPC load generator that costs little: unary calls over raw sockets, so many in flight, one process, one thread.

It writes HTTP/2 frames from prebuilt parts and reads no more of the answers than frame headers and the last header
block, which it remembers by its bytes: a header table of size 0 (SETTINGS_HEADER_TABLE_SIZE) makes equal headers equal
bytes. Flow control of connection and stream is honoured in both directions. Sources: RFC 9113, RFC 7541.

    python -m benchmarks.load < PLAN

runs a plan (JSON, see `Plan`) and prints the outcome as JSON; `drive` does that in a process of its own.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hpack import Decoder

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MAX_STREAMS, _INITIAL_WINDOW = 1, 2, 3, 4
_FRAME_HEADER = 9
_MAX_FRAME = 16384
_OUR_WINDOW = 16 * 1024 * 1024
_DEFAULT_WINDOW = 65535
_LAST_STREAM = 2**31 - 1
_READ_BYTES = 1 << 18
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. Ends after `count` answers or `seconds`, whichever comes first; both bound it."""

    address: str
    path: str
    messages: tuple[bytes, ...]
    """Serialised requests, taken in turn."""
    connections: int
    in_flight: int
    """Calls in flight on each connection."""
    count: int
    seconds: float
    metadata: tuple[tuple[str, str], ...] = ()
    cores: tuple[int, ...] = ()
    """Where the process may run; empty for anywhere."""


@dataclass(slots=True)
class Outcome:
    """What came back. Latencies are in seconds, a sample of at most 100,000 of them."""

    answers: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    """Calls by grpc-status, or by what happened instead: "reset", "closed"."""
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Successful answers a second."""
        return self.statuses.get("0", 0) / self.seconds if self.seconds else 0.0

    @property
    def failures(self) -> int:
        """Calls that did not end with OK."""
        return sum(count for status, count in self.statuses.items() if status != "0")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(text: bytes) -> bytes:
    """A string without Huffman coding, its length as an integer with a 7-bit prefix (RFC 7541, 5.1 and 5.2)."""
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    length, encoded = length - 127, bytearray((127,))
    while length >= 128:
        encoded.append(length & 127 | 128)
        length >>= 7
    encoded.append(length)
    return bytes(encoded) + text


def header_block(headers: Sequence[tuple[str, str]]) -> bytes:
    """Encodes headers as literals without indexing (RFC 7541, 6.2.2), so that the block means the same every time."""
    return b"".join(b"\0" + _literal(name.encode()) + _literal(value.encode()) for name, value in headers)


class _Connection:
    """One HTTP/2 connection, with its calls."""

    def __init__(self, run: _Run, address: tuple[str, int]) -> None:
        self.run = run
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.open = True
        self.started: dict[int, float] = {}
        self._next_stream = 1
        self._read = b""
        self._write = bytearray()
        self._window = _DEFAULT_WINDOW
        self._initial_window = _DEFAULT_WINDOW
        self._unsent: deque[list[Any]] = deque()
        self._unacknowledged = 0
        self._streams_allowed = run.plan.in_flight
        settings = b"".join(
            key.to_bytes(2, "big") + value.to_bytes(4, "big")
            for key, value in ((_HEADER_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW, _OUR_WINDOW))
        )
        self._write += _PREFACE + _frame(_SETTINGS, 0, 0, settings)
        self._write += _frame(_WINDOW_UPDATE, 0, 0, (_OUR_WINDOW - _DEFAULT_WINDOW).to_bytes(4, "big"))

    def fill(self, now: float) -> None:
        """Starts calls until enough are in flight, and writes what can be written."""
        run, started, write = self.run, self.started, self._write
        while len(started) < self._streams_allowed and run.unstarted and self._next_stream < _LAST_STREAM:
            run.unstarted -= 1
            stream = self._next_stream
            self._next_stream = stream + 2
            started[stream] = now
            identity = stream.to_bytes(4, "big")
            body = run.next_body()
            write += run.headers_head
            write += identity
            write += run.headers
            size = len(body)
            if size <= self._window and size <= self._initial_window and size <= _MAX_FRAME and not self._unsent:
                self._window -= size
                write += size.to_bytes(3, "big") + b"\0\1" + identity + body
            else:
                self._unsent.append([stream, body, self._initial_window])
        if self._unsent:
            self._send_bodies()
        self.flush()

    def _send_bodies(self) -> None:
        """Sends of the bodies that wait as much as the windows allow."""
        for entry in list(self._unsent):
            stream, body, window = entry
            while body and self._window > 0 and window > 0:
                piece = body[: min(_MAX_FRAME, self._window, window)]
                body = body[len(piece) :]
                self._window -= len(piece)
                window -= len(piece)
                self._write += _frame(_DATA, 0 if body else _END_STREAM, stream, piece)
            entry[1:] = body, window
        self._unsent = deque(entry for entry in self._unsent if entry[1])

    def flush(self) -> None:
        if not self._write or not self.open:
            return
        try:
            sent = self.socket.send(self._write)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._write[:sent]
        self.run.want_write(self, bool(self._write))

    def close(self) -> None:
        """Gives the calls in flight up."""
        if self.open:
            self.open = False
            self.run.forget(self)
            self.socket.close()
            for stream in list(self.started):
                self._ended(stream, "closed", time.monotonic())

    def _ended(self, stream: int, status: str, now: float) -> None:
        start = self.started.pop(stream, None)
        if start is not None:
            self.run.ended(status, now - start)

    def readable(self) -> None:
        """Reads what is there, and starts a call for each that ended."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        now = time.monotonic()
        data = self._read + data if self._read else data
        self._read = data[self._take_frames(data, now) :]
        if self.open:
            self.fill(now)

    def _take_frames(self, data: bytes, now: float) -> int:
        at, end = 0, len(data)
        run, started, known = self.run, self.started, self.run.known
        while end - at >= _FRAME_HEADER:
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            following = at + _FRAME_HEADER + size
            if following > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == _HEADERS:
                if flags & _END_STREAM:
                    block = data[at + _FRAME_HEADER : following]
                    status = known.get(block)
                    if status is None or flags != _END_STREAM | _END_HEADERS:
                        status = run.status_of(block, flags)
                    start = started.pop(int.from_bytes(data[at + 5 : at + 9], "big"), None)
                    if start is not None:
                        run.ended(status, now - start)
            elif kind == _DATA:
                self._unacknowledged += size
                if flags & _END_STREAM:
                    self._ended(int.from_bytes(data[at + 5 : at + 9], "big"), "no trailers", now)
            else:
                payload = data[at + _FRAME_HEADER : following]
                self._control(kind, flags, int.from_bytes(data[at + 5 : at + 9], "big"), payload, now)
            at = following
        if self._unacknowledged > _OUR_WINDOW // 2:
            # Streams are short, so only the connection's window has to be opened again.
            self._write += _frame(_WINDOW_UPDATE, 0, 0, self._unacknowledged.to_bytes(4, "big"))
            self._unacknowledged = 0
        return at

    def _control(self, kind: int, flags: int, stream: int, payload: bytes, now: float) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            for at in range(0, len(payload), 6):
                key, value = (
                    int.from_bytes(payload[at : at + 2], "big"),
                    int.from_bytes(payload[at + 2 : at + 6], "big"),
                )
                if key == _INITIAL_WINDOW:
                    for entry in self._unsent:
                        entry[2] += value - self._initial_window
                    self._initial_window = value
                elif key == _MAX_STREAMS:
                    self._streams_allowed = min(self.run.plan.in_flight, value)
            self._write += _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _WINDOW_UPDATE:
            more = int.from_bytes(payload, "big") & 0x7FFFFFFF
            if stream == 0:
                self._window += more
            for entry in self._unsent:
                if entry[0] == stream:
                    entry[2] += more
        elif kind == _PING and not flags & _ACK:
            self._write += _frame(_PING, _ACK, 0, payload)
        elif kind == _RST_STREAM:
            self._unsent = deque(entry for entry in self._unsent if entry[0] != stream)
            self._ended(stream, "reset", now)
        elif kind == _GOAWAY:
            # What is in flight may still end; nothing new starts here.
            self._streams_allowed = 0


class _Run:
    """All connections of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.outcome = Outcome()
        self.unstarted = plan.count
        self.known: dict[bytes, str] = {}
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", plan.path),
            (":authority", plan.address),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "assay-load"),
            *plan.metadata,
        ]
        self.headers = header_block(headers)
        self.headers_head = len(self.headers).to_bytes(3, "big") + bytes((_HEADERS, _END_HEADERS))
        self._bodies = [b"\0" + len(message).to_bytes(4, "big") + message for message in plan.messages]
        self._at = 0
        # Every how many-th latency is kept.
        self._stride = max(1, plan.count // 100_000)
        self._selector = selectors.EpollSelector()
        self._writing: set[_Connection] = set()

    def next_body(self) -> bytes:
        self._at = (self._at + 1) % len(self._bodies)
        return self._bodies[self._at]

    def ended(self, status: str, seconds: float) -> None:
        outcome = self.outcome
        outcome.answers += 1
        outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
        if not outcome.answers % self._stride:
            outcome.latencies.append(seconds)

    def status_of(self, block: bytes, flags: int) -> str:
        """Decodes a last header block. Padding and priority, which no server sends here, count as unknown."""
        if flags & (_PADDED | _PRIORITY) or not flags & _END_HEADERS:
            return "unknown"
        headers = dict(Decoder().decode(block, raw=True))
        status = bytes(headers.get(b"grpc-status", b"none")).decode()
        if len(self.known) < _REMEMBERED:
            self.known[block] = status
        return status

    def want_write(self, connection: _Connection, wanted: bool) -> None:
        if wanted != (connection in self._writing):
            (self._writing.add if wanted else self._writing.discard)(connection)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
            self._selector.modify(connection.socket, events, connection)

    def forget(self, connection: _Connection) -> None:
        self._writing.discard(connection)
        self._selector.unregister(connection.socket)

    def go(self) -> Outcome:
        plan, outcome = self.plan, self.outcome
        host, _, port = plan.address.rpartition(":")
        connections = [_Connection(self, (host, int(port))) for _ in range(plan.connections)]
        for connection in connections:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        start, cpu = time.monotonic(), time.process_time()
        end = start + plan.seconds
        for connection in connections:
            connection.fill(start)
        while outcome.answers < plan.count and any(connection.open for connection in connections):
            events = self._selector.select(max(0.0, end - time.monotonic()))
            for key, ready in events:
                connection = key.data
                if ready & selectors.EVENT_WRITE:
                    connection.flush()
                if ready & selectors.EVENT_READ and connection.open:
                    connection.readable()
            if time.monotonic() >= end:
                break
        outcome.seconds = time.monotonic() - start
        outcome.cpu_seconds = time.process_time() - cpu
        for connection in connections:
            # What is still in flight at the end of the time is neither an answer nor a failure.
            connection.started.clear()
            connection.close()
        self._selector.close()
        return outcome


def run(plan: Plan) -> Outcome:
    """Carries a plan out in this process.

    Raises:
        OSError: the address can't be connected to.
    """
    if plan.cores:
        os.sched_setaffinity(0, plan.cores)
    return _Run(plan).go()


def drive(plan: Plan) -> Outcome:
    """Carries a plan out in a process of its own, so that it shares no interpreter with anything.

    Raises:
        subprocess.CalledProcessError: it failed; its standard error says why.
    """
    order = {**asdict(plan), "messages": [base64.b64encode(message).decode() for message in plan.messages]}
    command = [sys.executable, "-m", "benchmarks.load"]
    done = subprocess.run(command, input=json.dumps(order), text=True, stdout=subprocess.PIPE, check=True)
    return Outcome(**json.loads(done.stdout))


def main() -> None:
    order = json.load(sys.stdin)
    order["messages"] = tuple(base64.b64decode(message) for message in order["messages"])
    order["metadata"] = tuple((key, value) for key, value in order["metadata"])
    print(json.dumps(asdict(run(Plan(**order)))))


if __name__ == "__main__":
    main()
