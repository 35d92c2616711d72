"""Log lines: JSON, one a record, without the text of exceptions."""

from __future__ import annotations

import json
import logging

from services.kernel.logs import JsonFormatter


def line(**changes: object) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": "it happened", "levelname": "WARNING", "name": "assay.test", **changes})
    text = JsonFormatter("gateway").format(record)
    assert "\n" not in text
    parsed: dict[str, object] = json.loads(text)
    return parsed


def test_fields() -> None:
    found = line(dependency="valkey", 数="二")
    assert found["time"].endswith("+00:00")  # type: ignore[attr-defined]
    del found["time"]
    assert found == {
        "level": "warning",
        "part": "gateway",
        "logger": "assay.test",
        "message": "it happened",
        "dependency": "valkey",
        "数": "二",
    }


def test_an_exceptions_text_stays_out() -> None:
    try:
        raise ValueError("canary")
    except ValueError as error:
        found = line(exc_info=(type(error), error, error.__traceback__))
    assert found["error_type"] == "ValueError"
    assert "test_an_exceptions_text_stays_out" in str(found["error_places"])
    assert "canary" not in json.dumps(found)
