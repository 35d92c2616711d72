"""`assay audit verify`: does the log hold every record as it was when it was signed?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.failure import CommandFailed
from cli.folder import DataFolder
from cli.options import as_json, mesh_address
from cli.terminal import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.witness_folder import WitnessFolder
    from services.audit.merkle.notes import Verifier
    from services.audit.merkle.verification import Verdict

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
@click.option(
    "--archive",
    "archived",
    type=_FILE,
    multiple=True,
    help="A file of the archive, for contents that left the log; may be repeated.",
)
@click.option("--search", is_flag=True, help="Hold what a search of the live log finds against its entries too.")
@mesh_address
@as_json
@click.pass_context
def verify(
    ctx: click.Context,
    file: Path | None,
    public_key: str | None,
    files: tuple[Path, ...],
    witness: Path | None,
    archived: tuple[Path, ...],
    search: bool,
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
    if file and search:
        raise click.UsageError("--search asks a live log; it can't go with FILE")
    from cli.audit_examine import examine
    from cli.audit_reader import AuditReader
    from cli.audit_trust import read_checkpoints
    from cli.witness_folder import WitnessFolder
    from services.audit.merkle.entries import read_content, read_entries, restored
    from services.audit.merkle.verification import verify as check

    kept = WitnessFolder(witness) if witness else None
    key = _key(public_key, kept, None if file or address else data)
    trusted = [checkpoint for given in files for checkpoint in read_checkpoints(given, key)]
    if kept:
        trusted += kept.checkpoints
    apart = len(trusted)
    leaves = kept.leaf_hashes if kept else b""
    with ExitStack() as closing:
        started, progress = closing.enter_context(_progress(hidden=json_))
        objects = [(one.name, closing.enter_context(one.open("rb"))) for one in archived]
        if file:
            beside = file.with_name(f"{file.name}.checkpoint")
            if beside.exists():
                trusted += read_checkpoints(beside, key)
            if not trusted:
                raise CommandFailed(f"there is no {beside.name} beside {file}; give a checkpoint with --checkpoint")
            started(max(checkpoint.size for checkpoint in trusted))
            content = closing.enter_context(file.open("rb"))
            verdict = check(restored(read_entries(content), objects), trusted, read_content, leaves, progress)
        else:
            log = closing.enter_context(AuditReader.of(address, data))
            verdict = examine(log, key, trusted, leaves, started, progress, objects, search)
    report = _report(verdict, apart, len(leaves))
    if json_:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        _show(report, key)
    if not verdict.ok:
        ctx.exit(1)


def _key(given: str | None, kept: WitnessFolder | None, data: Path | None) -> Verifier:
    from cli.audit_trust import public_key

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
def _progress(hidden: bool) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Shows a bar; yields what is to be called with the number of entries, and with how many are done."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True, disable=hidden) as bar:
        shown = bar.add_task("", total=None)
        yield lambda size: bar.update(shown, total=size), lambda done: bar.update(shown, completed=done)


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
        "fault": str(finding) if finding else verdict.proof_fault,
    }


def _show(report: dict[str, Any], key: Verifier) -> None:
    screen = console()
    if not report["ok"]:
        screen.print("[bold red]The log is bad.[/bold red]")
        screen.print(report["fault"][:1].upper() + report["fault"][1:], markup=False)
        screen.print(f"Proven are the first {report['proven']:,} entries, and no more.")
        return
    entries = _count(report["entries"], "entry", "entries")
    screen.print(f"[bold green]The log is whole:[/bold green] {entries}, every one as it was signed.")
    for state, count in report["removed"].items():
        screen.print(f"The contents of {count:,} are {state}, as the log itself says.")
    signed = _count(report["checkpoints"], "signed checkpoint holds", "signed checkpoints hold")
    apart = f"{report['checkpoints_from_elsewhere']:,} of them kept apart from the log"
    screen.print(f"{signed}, {apart}; the key is {key.name}+{key.key_id.hex()}.", markup=False)
    if report["witnessed"]:
        screen.print(f"The first {report['witnessed']:,} entries are those that the witness saw.")
    if not report["checkpoints_from_elsewhere"]:
        screen.print(
            "Only the log's own newest checkpoint was used. A log that was cut or rewritten, and then signed anew,"
            " would look whole too; what shows that is a checkpoint kept elsewhere (--checkpoint, --witness).",
            style="yellow",
        )


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
