"""Reads the snippets out of docs/clients.md: each stands in a fence below a comment that names it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
# The address that the page shows; tests put the address of their mesh in its place.
ADDRESS = "127.0.0.1:8080"

_SNIPPET = re.compile(r"^<!-- (file|run): (\S+) -->\n```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"^```\w+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Page:
    """What the page shows: source files by their name, shell commands by theirs."""

    files: dict[str, str]
    commands: dict[str, str]


def read(address: str = ADDRESS) -> Page:
    """Reads the page with `address` (host:port) in place of the one it shows.

    Raises:
        ValueError: when a snippet has no name, so that no test could run it, or shares it with another.
    """
    text = PAGE.read_text(encoding="utf-8")
    found = _SNIPPET.findall(text)
    if len(found) != len(_FENCE.findall(text)):
        raise ValueError(f"{PAGE.name} has a snippet without a comment that names it")
    page = Page({}, {})
    for kind, name, _, body in found:
        snippets = page.files if kind == "file" else page.commands
        if name in snippets:
            raise ValueError(f"{PAGE.name} has two snippets named {name}")
        snippets[name] = body.replace(ADDRESS, address)
    return page
