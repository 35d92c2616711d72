"""Calls that Envoy refuses by itself on a REST route: written down before the refusal leaves (alone.lua).

Envoy's own access log is written some time after the answer, by another thread, and a full disk goes unnoticed there.
"""

from __future__ import annotations

import json
from pathlib import Path

from services.kernel.errors import AssayError, Reason
from services.kernel.hosting.rest import NOTED, as_lua
from services.kernel.presentable import LUA
from services.kernel.status import to_json, to_status

WRITTEN = "written"
"""Under this key of NOTED the script says that it took care of a call, so that the access log leaves it out."""

_SCRIPT = Path(__file__).with_name("alone.lua")


def script(log: Path) -> str:
    """Returns the Lua source, which defines `remember(handle)` for the script behind it to call at each request."""
    error = AssayError(Reason.AUDIT_UNAVAILABLE, part="edge")
    unaudited = {said: json.dumps(to_json(to_status(error, said)), ensure_ascii=False) for said in ("en", "zh")}
    given = {"NOTED": NOTED, "LOG": str(log.absolute()), "unaudited": unaudited}
    head = "".join(f"local {name} = {as_lua(value)}\n" for name, value in given.items())
    return head + LUA + _SCRIPT.read_text()
