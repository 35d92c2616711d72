"""Which events: the options that `assay audit list` and `export` take, as fields of ListEventsRequest."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

_FIELDS = ("tenant", "caller", "subject", "request_id", "model", "label", "outcome")


class Time(click.ParamType[datetime]):
    """A time as ISO 8601 writes it; without an offset it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Returns the time in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            read = datetime.fromisoformat(value)
            return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; write 2026-11-23 or 2026-11-23T21:00:00Z", param, ctx)


TIME = Time()
_CONFIDENCE = click.FloatRange(0, 1)
_OPTIONS = (
    click.option("--tenant", default="", help="Only events of this tenant."),
    click.option("--caller", default="", help="Only events of this caller."),
    click.option("--subject", default="", help="Only events about this person, as the log names them."),
    click.option("--request-id", default="", help="Only calls with this request id."),
    click.option("--model", default="", help="Only this model."),
    click.option("--label", default="", help="Only answers with this label."),
    click.option("--outcome", default="", help='Only "answer", "error", "action", or an error\'s reason.'),
    click.option("--min-confidence", type=_CONFIDENCE, help="Only answers at least so sure, 0 to 1."),
    click.option("--max-confidence", type=_CONFIDENCE, help="Only answers less sure than this, 0 to 1."),
    click.option("--since", type=TIME, help="Only events at or after this time, UTC: 2026-11-23T21:00:00."),
    click.option("--until", type=TIME, help="Only events before this time."),
)


def timestamp(time: datetime | None) -> Timestamp | None:
    """Returns the message of a time; None for none."""
    from google.protobuf.timestamp_pb2 import Timestamp

    if time is None:
        return None
    made = Timestamp()
    made.FromDatetime(time)
    return made


def event_filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options, as `filters: dict`, which holds those that were given."""

    @functools.wraps(function)
    def filtered(**given: Any) -> Any:
        filters = {name: value for name in _FIELDS if (value := given.pop(name))}
        for name in ("min_confidence", "max_confidence"):
            if (value := given.pop(name)) is not None:
                filters[name] = value
        for option, name in (("since", "start_time"), ("until", "end_time")):
            if (value := given.pop(option)) is not None:
                filters[name] = timestamp(value)
        return function(filters=filters, **given)

    for option in reversed(_OPTIONS):
        filtered = option(filtered)
    return filtered
