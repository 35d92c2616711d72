"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorated = Callable[..., Any]
DEFAULT_DATA = Path(".assay")

_DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA,
    show_default=True,
    help="The mesh's data folder.",
)
_ADDRESS = click.option("--address", metavar="HOST:PORT", help="The public port. Default: that of the mesh in --data.")


def data_folder(function: Decorated) -> Decorated:
    """Adds --data, as `data: Path`."""
    return _DATA(function)


def mesh_address(function: Decorated) -> Decorated:
    """Adds --address and --data, as `address: str | None` and `data: Path`."""
    return _ADDRESS(_DATA(function))


def as_json(function: Decorated) -> Decorated:
    """Adds --json, as `json_: bool`."""
    return click.option("--json", "json_", is_flag=True, help="Print JSON instead.")(function)
