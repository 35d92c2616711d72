"""gRPC's length-prefixed messages: one byte that says whether the message is compressed, four of length, the message.

Source: the "gRPC over HTTP2" protocol description. Encodings are identity and gzip.
"""

from __future__ import annotations

import zlib

from services.kernel.errors import AssayError, Reason
from services.kernel.faults import Fault

PREFIX_BYTES = 5
ENCODINGS = b"identity,gzip"
# Window bits that make zlib read and write the gzip format.
_GZIP = 31
# Fast rather than small: messages are texts of a few kilobytes.
_LEVEL = 3


def frame(message: bytes) -> bytes:
    """Returns the message behind its prefix, not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def gzip_frame(message: bytes) -> bytes:
    """Returns the message, compressed, behind its prefix; an empty one stays as it is."""
    if not message:
        return b"\0\0\0\0\0"
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    packed = packer.compress(message) + packer.flush()
    return b"\1" + len(packed).to_bytes(4, "big") + packed


def gunzip(data: bytes, limit: int) -> bytes:
    """Unpacks a message without ever holding more than `limit` bytes of it.

    Raises:
        AssayError: MESSAGE_TOO_LARGE when there are more; MESSAGE_MALFORMED when it is not one whole gzip stream.
    """
    unpacker = zlib.decompressobj(_GZIP)
    try:
        message = unpacker.decompress(data, limit + 1)
    except zlib.error:
        raise AssayError(Reason.MESSAGE_MALFORMED, field="request", fault=Fault.GZIP) from None
    if len(message) > limit:
        raise AssayError(Reason.MESSAGE_TOO_LARGE, bytes=len(message), limit=limit)
    if not unpacker.eof or unpacker.unused_data:
        raise AssayError(Reason.MESSAGE_MALFORMED, field="request", fault=Fault.GZIP)
    return message


class Deframer:
    """Cuts messages out of bytes as they come, holding at most one message and what arrived behind it."""

    __slots__ = ("_buffer", "_gzip", "_limit")

    def __init__(self, limit: int, gzip: bool) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._gzip = gzip

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Adds bytes that arrived."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Takes the next message; None while it is not whole.

        Raises:
            AssayError: MESSAGE_TOO_LARGE, told by its prefix alone; MESSAGE_MALFORMED.
        """
        buffer = self._buffer
        if len(buffer) < PREFIX_BYTES:
            return None
        compressed = buffer[0]
        length = int.from_bytes(buffer[1:PREFIX_BYTES], "big")
        if compressed > 1 or (compressed and not self._gzip):
            raise AssayError(Reason.MESSAGE_MALFORMED, field="request", fault=Fault.FRAME)
        if length > self._limit:
            raise AssayError(Reason.MESSAGE_TOO_LARGE, bytes=length, limit=self._limit)
        end = PREFIX_BYTES + length
        if len(buffer) < end:
            return None
        message = bytes(buffer[PREFIX_BYTES:end])
        del buffer[:end]
        return gunzip(message, self._limit) if compressed else message

    def end(self) -> None:
        """Says that no more bytes come.

        Raises:
            AssayError: MESSAGE_MALFORMED when the last message is not whole.
        """
        if self._buffer:
            raise AssayError(Reason.MESSAGE_MALFORMED, field="request", fault=Fault.CUT_SHORT)
