"""assay bench NAME: measures one thing and says whether it is good enough."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

import click

# Name to the module whose `run(quick)` returns a benchmarks.harness.Result.
BENCHES: Mapping[str, str] = {
    "host": "benchmarks.host",
    "path": "benchmarks.path",
}


@click.command()
@click.argument("name", type=click.Choice(sorted(BENCHES)))
@click.option("--quick", is_flag=True, help="Fewer and shorter rounds: a look, not a measurement.")
@click.option("--check", is_flag=True, help="Exit with 1 when a goal does not hold.")
@click.option("--json", "only_json", is_flag=True, help="Print the JSON object alone.")
def bench(name: str, quick: bool, check: bool, only_json: bool) -> None:
    """Measure NAME; the last line printed is the result as JSON.

    host: requests/s inside Envoy over grpc.aio. path: requests/s end to end over a bare loop.
    """
    # Late, because a benchmark imports what it measures.
    from benchmarks.harness import show

    result = importlib.import_module(BENCHES[name]).run(quick)
    show(result, only_json)
    if check and not result.holds:
        sys.exit(1)
