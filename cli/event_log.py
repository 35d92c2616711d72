"""Which event log a command is about, and how it asks it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.failure import CommandFailed
from cli.folder import running_mesh
from cli.options import Decorated, data_folder

Result = TypeVar("Result")

_EVENT_LOG = click.option(
    "--event-log",
    envvar="ASSAY_EVENT_LOG",
    metavar="URL",
    help="redis://host:port/db or kafka://host:port,...; also from ASSAY_EVENT_LOG, where a password belongs. "
    "Default: that of the mesh in --data.",
)


def event_log(function: Decorated) -> Decorated:
    """Adds --event-log and --data, as `event_log: str | None` and `data: Path`."""
    return _EVENT_LOG(data_folder(function))


def url_of(given: str | None, data: Path) -> str:
    """Returns the URL that was given, or that of the mesh that runs in `data`.

    Raises:
        CommandFailed: it names no event log, or none was given and no mesh runs.
    """
    from services.kernel.eventlog import connections

    url = given or str(running_mesh(data)["event_log"])
    try:
        connections.require_known(url)
    except ValueError as error:
        raise CommandFailed(str(error).replace("ASSAY_EVENT_LOG", "--event-log")) from None
    return url


def ask(question: Coroutine[Any, Any, Result]) -> Result:
    """Returns what the log answered. Raises CommandFailed where it is away."""
    from services.kernel.eventlog.port import EventLogUnavailable

    try:
        return asyncio.run(question)
    except EventLogUnavailable as error:
        raise CommandFailed(f"the event log does not answer: {error}") from None
