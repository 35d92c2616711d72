"""Pages of a list: how many items a page holds, and tokens that lead to the next page of the same query only.

A token says where the page before ended (the position: the values of the sort key of its last item) and carries a
digest of the query's filters, so that it can't silently be used with other ones. It is opaque but not secret: whoever
forges one gets at most a page that any token could have given.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from services.kernel.errors import AssayError, Reason

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_PAGE_BYTES = 2 * 1024 * 1024
"""A page ends before it is larger, whatever was asked for: gRPC clients take 4 MiB unless they are told otherwise."""

Position = tuple[str | int, ...]
"""The sort key of the last item of a page."""

Scalar = str | int | float | None
Item = TypeVar("Item")

_VERSION = 1
_MAX_TOKEN_CHARACTERS = 1024


def page_size(requested: int) -> int:
    """Returns how many items to give: 0 becomes 100, more than 1,000 becomes 1,000.

    Raises:
        AssayError: FIELD_INVALID when it is negative.
    """
    if requested < 0:
        raise AssayError(Reason.FIELD_INVALID, field="page_size", value=requested, limit=f"0 to {MAX_PAGE_SIZE}")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def encode_token(position: Position, filters: Mapping[str, Scalar]) -> str:
    """Returns the token of the page behind `position`, for a query with these filters (names are part of it)."""
    body = json.dumps([_VERSION, _digest(filters), *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def decode_token(token: str, filters: Mapping[str, Scalar], shape: Sequence[type[str] | type[int]]) -> Position | None:
    """Returns the position of a token, or None for the first page (an empty token).

    `shape` is the type of each part of the position, so that a made-up token can't bring other types into a store.

    Raises:
        AssayError: PAGE_TOKEN_INVALID when encode_token did not make it, or made it for other filters.
    """
    if not token:
        return None
    refusal = AssayError(Reason.PAGE_TOKEN_INVALID, field="page_token")
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise refusal
    try:
        body = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        version, digest, *position = json.loads(body)
    except (UnicodeError, binascii.Error, ValueError, TypeError, RecursionError):
        raise refusal from None
    if version != _VERSION or digest != _digest(filters) or len(position) != len(shape):
        raise refusal
    for part, kind in zip(position, shape, strict=True):
        if type(part) is not kind or not _storable(part):
            raise refusal
    return tuple(position)


def cut(
    items: Sequence[Item], size: int, filters: Mapping[str, Scalar], position: Callable[[Item], Position]
) -> tuple[Sequence[Item], str]:
    """Cuts a page of at most `size` out of the items behind the page before, of which one more is enough.

    Returns the page and the token of the next one, empty when this is the last.
    """
    if len(items) <= size:
        return items, ""
    page = items[:size]
    return page, encode_token(position(page[-1]), filters)


async def page_of(
    fetch: Callable[[Position | None, int], Awaitable[Sequence[Item]]],
    position: Callable[[Item], Position],
    *,
    shape: Sequence[type[str] | type[int]],
    filters: Mapping[str, Scalar],
    size: int,
    token: str,
    weight: Callable[[Item], int] = lambda item: 0,
) -> tuple[Sequence[Item], str]:
    """Returns a page of a list that lives in a store, and the token of the next page.

    `fetch(after, limit)` gives what follows a position, or the first items when that is None. `size` and `token` are
    as the caller sent them. `weight` is an item's in bytes; a page has at least one item, however heavy.

    Raises:
        AssayError: FIELD_INVALID (page_size), PAGE_TOKEN_INVALID, and what `fetch` raises.
    """
    limit = page_size(size)
    items = await fetch(decode_token(token, filters, shape), limit + 1)
    return cut(items, fitting(items[:limit], weight), filters, position)


def fitting(items: Sequence[Item], weight: Callable[[Item], int]) -> int:
    """Returns how many of the items, at least one if there is one, weigh no more than a page may."""
    total = 0
    for number, item in enumerate(items):
        total += weight(item)
        if total > MAX_PAGE_BYTES and number:
            return number
    return len(items)


def _storable(part: str | int) -> bool:
    """Tells whether a store can compare with it: a signed 64-bit integer, a string without NUL or lone surrogates."""
    if isinstance(part, int):
        return -(2**63) <= part < 2**63
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in part)


def _digest(filters: Mapping[str, Scalar]) -> str:
    canonical = json.dumps(sorted(filters.items()), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]
