"""A caller's value, made fit to be said back to the caller in an error."""

from __future__ import annotations

import re

from services.kernel.presentable import presentable

LIMIT = 64

_is_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE).fullmatch


def echo(value: str) -> str:
    """Returns a UUID as it is, another value only if it is too plain to be personal (presentable.py), else "[hidden]".

    It is cut to 64 characters, the last a "…" if it was longer.
    """
    if _is_uuid(value):
        return value
    shown = presentable(value[: LIMIT + 1])
    return shown if len(shown) <= LIMIT else shown[: LIMIT - 1] + "…"
