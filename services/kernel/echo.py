"""A caller's value, made fit to be said back to the caller in an error."""

from __future__ import annotations

LIMIT = 64


def echo(value: str) -> str:
    """Returns the value with what can't be printed as "?" and cut to 64 characters, the last a "…" if it was longer."""
    shown = "".join(character if character.isprintable() else "?" for character in value[: LIMIT + 1])
    return shown if len(shown) <= LIMIT else shown[: LIMIT - 1] + "…"
