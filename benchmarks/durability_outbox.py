"""Tears the end of an outbox's write-ahead log, as a power cut or a kill in the middle of a write leaves it.

SQLite appends a frame (24 bytes of header, one page) for each page of a transaction. A frame counts when its salts are
those of the file's header and its checksum, which runs on from frame to frame, is right; the first that is not ends the
log. So a torn end is whatever stands behind the last right frame. Nothing before it is touched here: that was
acknowledged. Source: "The Write-Ahead Log" and "WAL-mode File Format" of SQLite's documentation.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

_HEADER, _FRAME_HEADER = 32, 24
_LITTLE_ENDIAN_SUMS, _BIG_ENDIAN_SUMS = 0x377F0682, 0x377F0683
TEARS = ("noise", "half a frame", "a frame with a wrong checksum")


class NotAWal(Exception):
    """The file is no write-ahead log that can be read."""


def right_end(log: bytes) -> int:
    """Returns where the last right frame of a write-ahead log ends, in bytes.

    Raises:
        NotAWal
    """
    if len(log) < _HEADER:
        raise NotAWal("it is shorter than a header")
    magic, _, page = struct.unpack(">3I", log[:12])
    if magic not in (_LITTLE_ENDIAN_SUMS, _BIG_ENDIAN_SUMS):
        raise NotAWal("it does not begin as one")
    order = "<" if magic == _LITTLE_ENDIAN_SUMS else ">"
    salts = log[16:24]
    sums = _sums(order, log[:24], (0, 0))
    if sums != struct.unpack(">2I", log[24:_HEADER]):
        raise NotAWal("its header is torn")
    at = _HEADER
    while at + _FRAME_HEADER + page <= len(log):
        header = log[at : at + _FRAME_HEADER]
        content = log[at + _FRAME_HEADER : at + _FRAME_HEADER + page]
        sums = _sums(order, content, _sums(order, header[:8], sums))
        if header[8:16] != salts or sums != struct.unpack(">2I", header[16:24]):
            break
        at += _FRAME_HEADER + page
    return at


def tear(log: Path, chance: random.Random) -> str:
    """Writes a torn end behind the last right frame, over what an older log may have left there; returns what it wrote.

    The database must not be open. A log that is missing or empty gets noise: its first frame was being written.

    Raises:
        OSError
    """
    content = log.read_bytes() if log.exists() else b""
    try:
        end = right_end(content)
    except NotAWal:
        # Nothing in it counts, so nothing in it can be lost.
        log.write_bytes(chance.randbytes(chance.randint(1, 8192)))
        return "noise in an empty log"
    page = struct.unpack(">I", content[8:12])[0]
    kind = chance.choice(TEARS)
    # A page of an earlier frame under the right salts: all but the checksum is as it would be.
    source = content[_HEADER : _HEADER + _FRAME_HEADER + page] if end > _HEADER else chance.randbytes(24 + page)
    number = struct.pack(">2I", chance.randint(1, 8), chance.choice((0, 8)))
    frame = number + content[16:24] + chance.randbytes(8) + source[_FRAME_HEADER:].ljust(page, b"\0")
    match kind:
        case "noise":
            torn = chance.randbytes(chance.randint(1, 4 * page))
        case "half a frame":
            torn = frame[: chance.randint(1, len(frame) - 1)]
        case _:
            torn = frame
    with log.open("r+b") as file:
        file.seek(end)
        file.write(torn)
    return kind


def _sums(order: str, data: bytes, start: tuple[int, int]) -> tuple[int, int]:
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return first, second
