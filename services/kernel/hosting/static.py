"""Static files at the public port, answered by Envoy from memory."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MAX_FILE_BYTES = 8 * 1024 * 1024


def prefixes(static: Mapping[str, Path]) -> list[str]:
    """Returns the path prefixes that belong to static files."""
    return list(static)


def routes(static: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Returns a route for GET and HEAD of every file, and a 404 for what else begins like one.

    Raises:
        ValueError: a file is larger than 8 MiB.
    """
    found = [_route(url, path) for prefix, root in static.items() for url, path in _files(prefix, root)]
    return found + [{"match": {"prefix": prefix}, "direct_response": {"status": 404}} for prefix in static]


def _files(prefix: str, root: Path) -> Iterator[tuple[str, Path]]:
    if root.is_file():
        yield prefix, root
        return
    base = prefix.rstrip("/")
    for path in sorted(root.rglob("*")):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        url = f"{base}/{path.relative_to(root).as_posix()}"
        yield url, path
        if path.name == "index.html":
            folder = url.removesuffix("/index.html")
            yield f"{folder}/", path
            if folder:
                yield folder, path


def _route(url: str, path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/") or kind in ("application/json", "application/javascript"):
        kind += "; charset=utf-8"
    return {
        "match": {
            "path": url,
            "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}],
        },
        "direct_response": {"status": 200, "body": {"filename": str(path.resolve())}},
        "response_headers_to_add": [
            {"header": {"key": "content-type", "value": kind}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            {"header": {"key": "cache-control", "value": "no-cache"}},
            {"header": {"key": "x-content-type-options", "value": "nosniff"}},
        ],
    }
