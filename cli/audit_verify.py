"""`assay audit verify`: does the log hold every record as it was when it was signed?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.failure import CommandFailed
from cli.folder import DataFolder, running_mesh
from cli.options import as_json, mesh_address
from cli.terminal import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.audit_source import LiveLog
    from cli.witness_folder import WitnessFolder
    from services.audit.merkle.notes import Checkpoint, Verifier
    from services.audit.merkle.verification import Entry, LeafHashes, Verdict

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("file", type=_FILE, required=False)
@click.option("--public-key", metavar="KEY|FILE", help="The log's public key. Default: the witness's, or the mesh's.")
@click.option(
    "--checkpoint",
    "files",
    type=_FILE,
    multiple=True,
    help="A file of checkpoints that was kept apart from the log; may be repeated.",
)
@click.option(
    "--witness",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder of a witness: with it the first bad record of any log is named.",
)
@mesh_address
@as_json
@click.pass_context
def verify(
    ctx: click.Context,
    file: Path | None,
    public_key: str | None,
    files: tuple[Path, ...],
    witness: Path | None,
    address: str | None,
    data: Path,
    json_: bool,
) -> None:
    """Verify the log in FILE, offline, or that of a running mesh; name its first bad record.

    FILE is an export (assay audit export --format log); its checkpoint is FILE.checkpoint, where that exists. Nothing
    is believed but the public key, the checkpoints and the witness. Exit code 1: the log is bad, or can't be read.

    \b
    assay audit verify
    assay audit verify audit.log --public-key audit.pub --checkpoint kept-in-january.note
    assay audit verify --address 10.0.0.7:8080 --witness /mnt/elsewhere/witness
    """
    from cli.audit_source import LiveLog, read_checkpoints
    from cli.witness_folder import WitnessFolder

    kept = WitnessFolder(witness) if witness else None
    key = _key(public_key, kept, None if file or address else data)
    trusted = [checkpoint for given in files for checkpoint in read_checkpoints(given, key)]
    if kept:
        trusted += kept.checkpoints
    apart = len(trusted)
    leaves = kept.leaf_hashes if kept else b""
    with ExitStack() as closing:
        entries: Callable[[int], Iterable[Entry]]
        if file:
            beside = file.with_name(f"{file.name}.checkpoint")
            if beside.exists():
                trusted += read_checkpoints(beside, key)
            entries = closing.enter_context(_export(file))
        else:
            log = closing.enter_context(LiveLog(address or running_mesh(data)["public"]))
            trusted.append(_newest(log, key))
            entries = log.entries
        if not trusted:
            raise CommandFailed(f"there is no {beside.name} beside {file}; give a checkpoint with --checkpoint")
        size = max(checkpoint.size for checkpoint in trusted)
        verdict = _verify(entries(size), trusted, leaves, size, hidden=json_)
    report = _report(verdict, apart, len(leaves))
    if json_:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        _show(report, key)
    if not verdict.ok:
        ctx.exit(1)


def _key(given: str | None, kept: WitnessFolder | None, data: Path | None) -> Verifier:
    from cli.audit_source import public_key

    if given:
        key = public_key(given)
        if kept and kept.verifier.vkey != key.vkey:
            raise CommandFailed(f"{kept.path} witnesses {kept.verifier.vkey}, not {key.vkey}")
        return key
    if kept:
        return kept.verifier
    if data is None:
        raise CommandFailed("give the log's public key with --public-key: the log's own word on it proves nothing")
    return public_key(str(DataFolder(data).keys.audit_public))


@contextmanager
def _export(file: Path) -> Iterator[Callable[[int], Iterable[Entry]]]:
    from services.audit.merkle.entries import read_entries

    with file.open("rb") as content:
        yield lambda size: read_entries(content)


def _newest(log: LiveLog, key: Verifier) -> Checkpoint:
    from services.audit.merkle.notes import NoteInvalid, open_note
    from services.audit.merkle.verification import EntriesBroken

    try:
        return open_note(log.checkpoint(), [key])
    except EntriesBroken as fault:
        raise CommandFailed(str(fault)) from None
    except NoteInvalid as fault:
        raise CommandFailed(f"the checkpoint that {log.address} gives can't be trusted: {fault}") from None


def _verify(
    entries: Iterable[Entry], trusted: list[Checkpoint], leaves: LeafHashes, size: int, hidden: bool
) -> Verdict:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from services.audit.merkle.entries import read_content
    from services.audit.merkle.verification import verify as check

    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True, disable=hidden) as bar:
        shown = bar.add_task("", total=size)
        return check(entries, trusted, read_content, leaves, lambda done: bar.update(shown, completed=done))


def _report(verdict: Verdict, apart: int, witnessed: int) -> dict[str, Any]:
    from services.audit.merkle.hashing import HASH_BYTES

    finding = verdict.finding
    return {
        "ok": verdict.ok,
        "entries": verdict.entries,
        "proven": verdict.proven,
        "root": verdict.root.hex(),
        "checkpoints": verdict.checkpoints,
        "checkpoints_from_elsewhere": apart,
        "witnessed": witnessed // HASH_BYTES,
        "removed": {state.value: count for state, count in verdict.removed.items()},
        "first_bad": finding.start if finding and finding.exact else None,
        "first_bad_range": [finding.start, finding.end - 1] if finding else None,
        "fault": str(finding) if finding else "",
    }


def _show(report: dict[str, Any], key: Verifier) -> None:
    screen = console()
    if not report["ok"]:
        screen.print("[bold red]The log is bad.[/bold red]")
        screen.print(report["fault"][:1].upper() + report["fault"][1:], markup=False)
        screen.print(f"Proven are the first {report['proven']:,} entries, and no more.")
        return
    screen.print(
        f"[bold green]The log is whole:[/bold green] {report['entries']:,} entries, every one as it was signed."
    )
    for state, count in report["removed"].items():
        screen.print(f"The contents of {count:,} are {state}, as the log itself says.")
    words = f"{report['checkpoints']:,} checkpoints hold, signed with {key.name}+{key.key_id.hex()}"
    screen.print(f"{words}; {report['checkpoints_from_elsewhere']:,} of them were kept apart from the log.")
    if report["witnessed"]:
        screen.print(f"The first {report['witnessed']:,} entries are those that the witness saw.")
    if not report["checkpoints_from_elsewhere"]:
        screen.print(
            "Only the log's own newest checkpoint was used. A log that was cut or rewritten, and then signed anew,"
            " would look whole too; what shows that is a checkpoint kept elsewhere (--checkpoint, --witness).",
            style="yellow",
        )
