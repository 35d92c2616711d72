"""Which names that a caller made up may be repeated and written down as they are: those too plain to be a person's.

Where Envoy answers by itself nothing can be masked, only left out. The same rule is written three times, for Python,
for Envoy's expressions (CEL) and for its scripts (Lua): ASCII letters and a few signs, with at most three digits, or
with at most six and no dot. Every number of a person has more, and no e-mail address and nothing in Chinese passes.
"""

from __future__ import annotations

import re

HIDDEN = "[hidden]"

_SIGNS = "A-Za-z /_()+-"
PATTERN = f"^(?:[{_SIGNS}.]*(?:[0-9][{_SIGNS}.]*){{0,3}}|[{_SIGNS}]*(?:[0-9][{_SIGNS}]*){{0,6}})$"
"""The rule as a regular expression, in RE2's syntax and Python's."""

_is_presentable = re.compile(PATTERN.removesuffix("$") + r"\Z").match
_UUID = "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

LUA = """
local function presentable(value)
  local _, digits = string.gsub(value, "%d", "")
  if string.find(value, "[^%w /_().+-]") then return false end
  return digits <= 3 or (digits <= 6 and not string.find(value, ".", 1, true))
end
"""
"""The rule as a function of Lua's."""


def presentable(name: str) -> str:
    """Returns the name, or HIDDEN."""
    return name if _is_presentable(name) else HIDDEN


def presentable_path(path: str) -> str:
    """Returns a path with HIDDEN in the place of each segment that is not presentable."""
    return path if _is_presentable(path) else "/".join(presentable(segment) for segment in path.split("/"))


def cel(*candidates: str, otherwise: str = HIDDEN, uuid: bool = False) -> str:
    """Returns the format command for Envoy that gives the first of some expressions that is presentable.

    `uuid`: it must be a UUID instead.
    """
    pattern = _UUID if uuid else PATTERN
    expression = f"'{otherwise}'"
    for candidate in reversed(candidates):
        expression = f"({candidate}.matches('{pattern}') ? {candidate} : {expression})"
    return f"%CEL({expression})%"
