"""Logs as JSON lines on stderr, with no personal data in them.

A line holds `time` (UTC, RFC 3339), `level`, `part`, `logger`, `message` and what the call gave as `extra`. Of an
exception it holds the type and the places in the code, never its text, because that may quote a caller's.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FRAMES = 12


def places(trace: TracebackType | None) -> list[str]:
    """Returns where an exception passed, outermost first, as "module.py:line function"; the last 12 places."""
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{'/'.join(frame.filename.split('/')[-3:])}:{frame.lineno} {frame.name}" for frame in frames]


class JsonFormatter(logging.Formatter):
    """One record, one line."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "part": self._part,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _ORDINARY})
        if record.exc_info and record.exc_info[0] is not None:
            line["error_type"] = record.exc_info[0].__qualname__
            line["error_places"] = places(record.exc_info[2])
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(part: str, level: str = "info") -> None:
    """Makes every logger of this process write JSON lines on stderr; call it once, first thing.

    Raises:
        ValueError: `level` is not one of debug, info, warning, error, critical.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(part))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These log requests, addresses or bodies at their lower levels.
    for chatty in ("grpc", "asyncio", "httpx", "httpcore", "urllib3", "opentelemetry"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
