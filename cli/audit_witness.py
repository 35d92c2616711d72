"""`assay audit witness`: keeps a log's checkpoints and the hashes of its entries where the log can't reach them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from cli.client import CallFailed
from cli.failure import CommandFailed
from cli.folder import DataFolder
from cli.options import as_json, mesh_address


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--public-key",
    metavar="KEY|FILE",
    help="The log's public key; needed once, the folder keeps it. Default: that of the mesh in --data.",
)
@click.option("--once", is_flag=True, help="Look once and leave, for a timer.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds between looks.",
)
@mesh_address
@as_json
def witness(
    folder: Path, public_key: str | None, once: bool, interval: float, address: str | None, data: Path, json_: bool
) -> None:
    """Witness the log of a mesh in FOLDER: keep each new checkpoint that continues the ones before, and raise the alarm
    at the first that does not.

    Run it on another machine, under another account: what it keeps is of use only where whoever may change the log
    can't change it too. FOLDER grows by 32 bytes an entry and holds nothing of the records. Exit code 1: alarm, or,
    with --once, the log can't be reached. Without --once it waits for a log that is away.

    \b
    assay audit witness /mnt/elsewhere/witness --address 10.0.0.7:8080 --public-key audit.pub
    assay audit witness witness --once
    """
    from cli.audit_reader import AuditReader
    from cli.audit_trust import public_key as read_key
    from cli.witness import visit
    from cli.witness_folder import WitnessFolder

    given = public_key
    if given is None and address is None and not (folder / "log.pub").exists():
        given = str(DataFolder(data).keys.audit_public)
    reader = AuditReader.of(address, data)
    try:
        kept = WitnessFolder(folder, read_key(given) if given else None)
        with kept.held(), reader as log:
            away = False
            while True:
                try:
                    newest = visit(kept, log)
                except CallFailed as fault:
                    if once:
                        raise
                    if not away:
                        click.echo(f"assay: {fault.message}; waiting", err=True)
                    away = True
                else:
                    away = False
                    if newest or once:
                        _tell(kept.size, bool(newest), json_)
                if once:
                    return
                time.sleep(interval)
    except OSError as fault:
        raise CommandFailed(f"the witness folder {folder} can't be written: {fault.strerror}") from None


def _tell(size: int, new: bool, json_: bool) -> None:
    if json_:
        click.echo(json.dumps({"entries": size, "new": new}))
    else:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        click.echo(f"{stamp} {'kept' if new else 'nothing new since'} the checkpoint of {size:,} entries")
