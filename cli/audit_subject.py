"""`assay audit subject`: what stands for a person in the log, for searches and erasures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from cli.failure import CommandFailed
from cli.folder import DataFolder
from cli.options import as_json, data_folder

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@click.option("--tenant", default="default", show_default=True, help="Whose calls they were.")
@click.option("--key-file", type=_FILE, help="The pseudonym key. Default: that of the mesh in --data.")
@click.option("--tenants-file", type=_FILE, help="What ASSAY_TENANTS_FILE names, where there is one.")
@data_folder
@as_json
def subject(tenant: str, key_file: Path | None, tenants_file: Path | None, data: Path, json_: bool) -> None:
    """Print what stands in the log for a person whom calls named in x-assay-subject.

    The name is asked for, or read from standard input, so that it is in no list of processes. Without the key nobody
    can tell who is meant.

    \b
    assay audit subject --tenant acme
    assay audit erase --tenant acme --subject "$(assay audit subject --tenant acme < name.txt)"
    """
    from services.gateway.pseudonyms import PseudonymKeyError
    from services.gateway.tenants import Tenants, TenantsError

    if sys.stdin.isatty():
        name = click.prompt("Name in x-assay-subject", hide_input=True, err=True)
    else:
        name = sys.stdin.read().strip()
    if not name:
        raise CommandFailed("there is no name on standard input")
    try:
        tenants = Tenants.from_files(key_file or DataFolder(data).keys.pseudonym, tenants_file)
    except (PseudonymKeyError, TenantsError) as fault:
        raise CommandFailed(str(fault)) from None
    found = tenants.of(tenant).subject(name)
    click.echo(json.dumps({"tenant": tenant, "subject": found}) if json_ else found)
