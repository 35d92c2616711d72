"""Between HTTP headers and what gRPC calls metadata, status and timeout.

Source: the "gRPC over HTTP2" protocol description.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote

from services.kernel.errors import AssayError, Reason

Header = tuple[bytes, bytes]
MetadataValue = str | bytes

_UNIT_SECONDS = {ord("H"): 3600.0, ord("M"): 60.0, ord("S"): 1.0, ord("m"): 1e-3, ord("u"): 1e-6, ord("n"): 1e-9}
_MAX_TIMEOUT_DIGITS = 8
# Every printable ASCII character but the percent sign.
_UNESCAPED = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_MAX_MESSAGE = 2048
# What belongs to the transport and is not the caller's.
_TRANSPORT = frozenset((b"te", b"content-type", b"host", b"connection", b"transfer-encoding", b"content-length"))


class Metadatum(NamedTuple):
    """One pair; keys that end in -bin have bytes as value, all others text."""

    key: str
    value: MetadataValue


def timeout_seconds(value: bytes) -> float:
    """Reads grpc-timeout: 1 to 8 digits and a unit.

    Raises:
        AssayError: FIELD_INVALID.
    """
    digits, unit = value[:-1], _UNIT_SECONDS.get(value[-1]) if value else None
    if unit is None or not digits.isdigit() or len(digits) > _MAX_TIMEOUT_DIGITS:
        raise AssayError(
            Reason.FIELD_INVALID, field="grpc-timeout", value="malformed", limit="1 to 8 digits and one of H M S m u n"
        )
    return int(digits) * unit


def status_message(text: str) -> bytes:
    """Percent-encodes a status message for grpc-message, cut to what a header block bears."""
    return quote(text[:_MAX_MESSAGE], safe=_UNESCAPED).encode("ascii")


def decode_metadata(headers: Iterable[Header]) -> tuple[Metadatum, ...]:
    """Returns the caller's metadata in order. A binary value that is not Base64 is left out."""
    metadata: list[Metadatum] = []
    for name, value in headers:
        if name in _TRANSPORT or name.startswith((b"grpc-", b":")):
            continue
        key = name.decode("latin-1")
        if not name.endswith(b"-bin"):
            metadata.append(Metadatum(key, value.decode("latin-1")))
            continue
        # Several values of one key may come joined by commas.
        for part in value.split(b","):
            part = part.strip().rstrip(b"=")
            try:
                metadata.append(Metadatum(key, base64.b64decode(part + b"=" * (-len(part) % 4), validate=True)))
            except binascii.Error:
                continue
    return tuple(metadata)


def encode_metadata(metadata: Sequence[tuple[str, MetadataValue]] | None) -> list[Header]:
    """Returns metadata as headers.

    Raises:
        ValueError: a key or a text value holds what a header can't.
    """
    headers: list[Header] = []
    for key, value in metadata or ():
        name = key.lower()
        if not name.isascii() or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ValueError("a metadata key holds characters that it may not")
        if name.endswith("-bin"):
            data = value.encode() if isinstance(value, str) else value
            headers.append((name.encode(), base64.b64encode(data).rstrip(b"=")))
            continue
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if not text.isascii() or (text and not text.isprintable()):
            raise ValueError("a metadata value holds characters that it may not")
        headers.append((name.encode(), text.strip().encode()))
    return headers
