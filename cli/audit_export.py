"""`assay audit export`: events in a file, for analysis; or the log itself, for whoever verifies it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from cli.audit_filters import event_filters
from cli.failure import CommandFailed
from cli.options import as_json, mesh_address
from cli.terminal import console

if TYPE_CHECKING:
    from rich.progress import Progress

    from cli.audit_reader import AuditReader

FORMATS = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl", "log": ".log"}
_FILE = click.Path(path_type=Path, dir_okay=False)
_SIGNED_SECONDS = 30.0
"""How long an entry may wait for its checkpoint; usually it is a second."""

_MOST_UNSIGNED = 100_000


@click.command()
@click.argument("file", type=_FILE)
@click.option("--format", "format_", type=click.Choice([*FORMATS]), help="Default: as FILE's name ends.")
@event_filters
@mesh_address
@as_json
def export(
    file: Path, format_: str | None, filters: dict[str, Any], address: str | None, data: Path, json_: bool
) -> None:
    """Write events to FILE, newest first; or, as a log, every entry as it is stored, oldest first.

    parquet, csv and jsonl hold the events that pass the filters, with what is personal in them: the file is for its
    owner alone. A cell of a CSV that a spreadsheet would take for a formula begins with an apostrophe.

    log takes no filters. It holds the entries that the newest checkpoint was signed over, what is personal still
    sealed, and FILE.checkpoint that checkpoint: `assay audit verify FILE` needs nothing else but the public key.

    FILE is replaced once all of it is there.

    \b
    assay audit export november.parquet --since 2026-11-01 --until 2026-12-01
    assay audit export errors.csv --tenant acme --outcome error
    assay audit export audit.log
    """
    format_ = format_ or _format_of(file)
    if format_ == "log" and filters:
        raise click.UsageError(f"a log is whole or worth nothing; leave out {', '.join(sorted(filters))}")
    from cli.audit_reader import AuditReader

    with AuditReader.of(address, data) as reader, _progress(hidden=json_) as progress:
        written = (
            _log(reader, file, progress) if format_ == "log" else _events(reader, file, format_, filters, progress)
        )
    report = {"file": str(file), "format": format_, "bytes": file.stat().st_size, **written}
    if json_:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        what = "entries" if format_ == "log" else "events"
        click.echo(f"{file}: {written[what]} {what}, {report['bytes']} bytes")


def _format_of(file: Path) -> str:
    for name, ending in FORMATS.items():
        if file.suffix == ending:
            return name
    raise click.UsageError(f"{file.name} says no format; give --format {', '.join(FORMATS)}")


def _events(
    reader: AuditReader, file: Path, format_: str, filters: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    from cli.audit_formats import WRITERS

    task = progress.add_task("exporting", total=None)
    events = 0
    with _draft(file) as draft, WRITERS[format_](draft) as write:
        for page in reader.event_pages(**filters):
            write(page)
            events += len(page)
            progress.update(task, completed=events)
    return {"events": events}


def _log(reader: AuditReader, file: Path, progress: Progress) -> dict[str, Any]:
    from services.audit.merkle.entries import framed

    note, size = _newest(reader)
    task = progress.add_task("exporting", total=size)
    entries, removed = 0, False
    with _draft(file.with_name(f"{file.name}.checkpoint")) as beside, _draft(file) as draft:
        while entries < size:
            for page in reader.entry_pages(entries, size):
                draft.write(b"".join(map(framed, page)))
                entries += len(page)
                removed = removed or not all(entry.record for entry in page)
                progress.update(task, completed=entries)
            if entries < size:
                raise CommandFailed(f"the log ends at entry {entries}, and its checkpoint says that it has {size}")
            if removed:
                # It may have gone while this was read; then the entry that says so lies behind the checkpoint.
                removed = False
                note, size = _newest(reader, _end(reader, size))
                progress.update(task, total=size)
        beside.write(note.encode())
    return {"entries": entries, "checkpoint": f"{file}.checkpoint"}


def _newest(reader: AuditReader, least: int = 0) -> tuple[str, int]:
    """Returns the newest checkpoint that covers at least so many entries, and how many it covers."""
    end = time.monotonic() + _SIGNED_SECONDS
    while True:
        note = reader.checkpoint().checkpoint
        size = int(note.split("\n")[1])  # whoever verifies the file checks the signature, and not here
        if size >= least:
            return note, size
        if time.monotonic() > end:
            raise CommandFailed(f"no checkpoint for {least} entries within {_SIGNED_SECONDS:g} s; see: assay status")
        time.sleep(0.1)


def _end(reader: AuditReader, start: int) -> int:
    """Returns how many entries the log has, signed or not; at least `start`."""
    for page in reader.entry_pages(start, start + _MOST_UNSIGNED):
        start += len(page)
    return start


@contextmanager
def _draft(file: Path) -> Iterator[IO[bytes]]:
    """Opens a file for its owner alone that takes the place of `file` once all went well, and is gone otherwise."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise CommandFailed(f"can't write {file}: {fault.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
    except OSError as fault:
        raise CommandFailed(f"can't write {file}: {fault.strerror or fault}") from None
    finally:
        with suppress(OSError):
            draft.unlink()


@contextmanager
def _progress(hidden: bool) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = console(stderr=True)
    with Progress(*columns, console=shown, transient=True, disable=hidden or not shown.is_terminal) as progress:
        yield progress
