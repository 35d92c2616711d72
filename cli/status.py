"""`assay status`: how every part of the running mesh is, asked live."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import grpc
from assay.classifier.v1 import classifier_pb2, classifier_pb2_grpc
from google.protobuf.json_format import MessageToDict
from rich.table import Table
from rich.text import Text

from cli import parts, readiness, symptoms
from cli.folder import running_mesh
from cli.options import as_json, data_folder
from cli.terminal import console

# The names under which each service's grpc.health.v1 answers for what it depends on.
DEPENDENCIES: Mapping[str, tuple[str, ...]] = {
    parts.CLASSIFIER: ("triton",),
    parts.AUDIT: ("eventlog", "store", "consumer", "tree", "checkpoints", "clock"),
    parts.REVIEW: ("eventlog", "store", "consumer"),
    parts.GATEWAY: ("classifier", "outbox", "eventlog", "audit", "review"),
}


@dataclass(frozen=True, slots=True)
class Health:
    """What a part answered just now."""

    name: str
    address: str
    pid: int | None
    restarts: int
    state: str
    """The supervisor's word."""
    up: bool
    detail: str
    dependencies: dict[str, str] = field(default_factory=dict)
    """By name, "SERVING" or "NOT_SERVING"."""
    problems: list[str] = field(default_factory=list)
    """What is wrong, in plain words."""

    @property
    def healthy(self) -> bool:
        """Whether it serves, with everything that it depends on."""
        return self.up and all(answer == "SERVING" for answer in self.dependencies.values())


@click.command()
@data_folder
@as_json
def status(data: Path, json_: bool) -> None:
    """Ask every part of the running mesh how it is; exit code 1 when one is down or lacks what it needs.

    Says what is wrong in plain words: a full or waiting outbox, an event log or a database that is away, consumers that
    are behind, dead letters, checkpoints that are late.

    \b
    assay status
    assay status --json | jq '.parts[] | select(.up | not)'
    """
    mesh = running_mesh(data)
    report = asyncio.run(_report(mesh))
    if json_:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        _show(report)
    if not report["healthy"]:
        raise click.exceptions.Exit(1)


async def _report(mesh: Mapping[str, Any]) -> dict[str, Any]:
    names = list(mesh["parts"])
    pages = [mesh["parts"][name].get("metrics") for name in names]
    found, models, told = await asyncio.gather(
        asyncio.gather(*(_ask(name, mesh["parts"][name]) for name in names)),
        _models(mesh["parts"][parts.CLASSIFIER]["address"]),
        asyncio.gather(*(asyncio.to_thread(symptoms.read, page, readiness.PROBE_SECONDS) for page in pages)),
    )
    for part, samples in zip(found, told, strict=True):
        part.problems.extend(symptoms.symptoms(samples or {}))
    gateway = dict(zip(names, told, strict=True)).get(parts.GATEWAY)
    return {
        "running": True,
        "healthy": all(part.healthy for part in found),
        "public": mesh["public"],
        "host": mesh["host"],
        "host_reason": mesh.get("host_reason", ""),
        "pid": mesh["pid"],
        "since": mesh["started"],
        "outbox_depth": None if gateway is None else int(symptoms.value(gateway, "gateway_outbox_events")),
        "parts": [asdict(part) for part in found],
        "models": models,
    }


async def _ask(name: str, known: Mapping[str, Any]) -> Health:
    """Asks one part; a part that does not answer is down, whatever the supervisor last saw."""
    address: str = known["address"]
    probes = {parts.VALKEY: readiness.valkey, parts.KAFKA: readiness.kafka, parts.TRITON: readiness.triton}
    probe = probes.get(name, readiness.serving)(address)
    detail = ""
    try:
        await probe()
    except readiness.NotReady as error:
        # Of a process that ended, the supervisor knows how.
        detail = str(error) if known["pid"] else f"{error}; it {known['detail']}"
    asked = DEPENDENCIES.get(name, ())
    answers = await asyncio.gather(*(readiness.health(address, each) for each in asked), return_exceptions=True)
    dependencies = {each: answer for each, answer in zip(asked, answers, strict=True) if isinstance(answer, str)}
    # A process that can't start has said why before it ended.
    problems = list(known.get("last_lines") or ())[-1:] if detail else []
    return Health(
        name, address, known["pid"], known["restarts"], known["state"], not detail, detail, dependencies, problems
    )


async def _models(classifier: str) -> list[dict[str, Any]]:
    """Asks the classifier itself, because a question at the public port is a call that the audit log records."""

    async def ask(channel: grpc.aio.Channel) -> Any:
        request = classifier_pb2.ListModelsRequest(page_size=1000)
        return await classifier_pb2_grpc.ClassifierServiceStub(channel).ListModels(request, timeout=5)

    try:
        answer = await readiness.call(classifier, ask)
    except readiness.NotReady:
        return []
    found = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return list(found["models"])


def _show(report: Mapping[str, Any]) -> None:
    screen = console()
    reason = f" ({report['host_reason']})" if report["host_reason"] else ""
    minutes = (time.time() - report["since"]) / 60
    screen.print(f"Assay at {report['public']}, host {report['host'] or 'unknown'}{reason}, up {minutes:.0f} min")
    if report["outbox_depth"] is not None:
        screen.print(f"outbox: {report['outbox_depth']} events wait for the event log")
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("part", "health", "address", "pid", "restarts", "depends on"):
        made.add_column(heading, no_wrap=heading != "depends on")
    for part in report["parts"]:
        health = Text("serving", style="green") if part["up"] else Text("down", style="bold red")
        needs = Text(part["detail"], style="red") if part["detail"] else Text()
        for name, answer in part["dependencies"].items():
            needs.append(f"{'  ' if needs else ''}{name} ", style="dim")
            needs.append(*(("ok", "green") if answer == "SERVING" else (answer.lower(), "red")))
        made.add_row(part["name"], health, part["address"], str(part["pid"] or "-"), str(part["restarts"]), needs)
    screen.print(made)
    for part in report["parts"]:
        for problem in part["problems"]:
            screen.print(Text.assemble((f"{part['name']}: ", "bold"), (problem, "yellow")))
    for model in report["models"]:
        stable = ", stable" if model["stable"] else ""
        words = f"{model['name']} {model['version']}: {model['industry']}, {len(model['labels'])} labels"
        screen.print(Text(f"{words}, {', '.join(model['languages'])}{stable}", style="dim"))
