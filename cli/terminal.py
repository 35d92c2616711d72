"""Where commands print for a person."""

from __future__ import annotations

from rich.console import Console

PLAIN_WIDTH = 120
"""Columns where the output is not a terminal."""


def console(stderr: bool = False) -> Console:
    """Returns a console as wide as the terminal, or PLAIN_WIDTH where the output goes elsewhere."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = PLAIN_WIDTH
    return made
