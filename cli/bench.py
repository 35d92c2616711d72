"""assay bench NAME: measures one thing and says whether it is good enough."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Mapping

import click

# Name to the module whose `run(quick)` returns a benchmarks.harness.Result. A benchmark that takes more names it as
# further arguments of `run`, by the names of the options below.
BENCHES: Mapping[str, str] = {
    "audit": "benchmarks.audit",
    "canary": "benchmarks.canary",
    "durability": "benchmarks.durability",
    "host": "benchmarks.host",
    "masking": "benchmarks.masking",
    "outage": "benchmarks.outage",
    "path": "benchmarks.path",
    "tamper": "benchmarks.tamper",
}


@click.command()
@click.argument("name", type=click.Choice(sorted(BENCHES)))
@click.option("--quick", is_flag=True, help="Fewer and shorter rounds: a look, not a measurement.")
@click.option("--check", is_flag=True, help="Exit with 1 when a goal does not hold.")
@click.option("--json", "only_json", is_flag=True, help="Print the JSON object alone.")
@click.option("--trials", type=click.IntRange(min=1), help="How many trials; of durability and tamper.")
@click.option("--seed", type=int, help="What the trials are drawn from; of durability and tamper.")
@click.option("--trial", type=click.IntRange(min=0), help="Run this trial alone again; of durability and tamper.")
def bench(name: str, quick: bool, check: bool, only_json: bool, **given: int | None) -> None:
    """Measure NAME; the last line printed is the result as JSON.

    \b
    audit       durable appends/s of the audit log, proofs and verification of 1,000,000 records
    canary      whether a raw value of a call can be found anywhere but in the call
    durability  whether every answer is in the audit log once, whatever is killed meanwhile
    host        requests/s inside Envoy over grpc.aio
    masking     how much personal data is found, what else is taken for it, and how long it takes
    outage      calls that fail and events that are lost while the event log is away
    path        requests/s end to end over a bare loop
    tamper      whether every change of an audit log is found and its place named
    """
    # Late, because a benchmark imports what it measures.
    from benchmarks.harness import show

    # Read when gRPC is first imported, which would remark on every process that a benchmark starts.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    run = importlib.import_module(BENCHES[name]).run
    options = {option: value for option, value in given.items() if value is not None}
    for option in options.keys() - inspect.signature(run).parameters.keys():
        raise click.UsageError(f"{name} takes no --{option}")
    result = run(quick, **options)
    show(result, only_json)
    if check and not result.holds:
        sys.exit(1)
