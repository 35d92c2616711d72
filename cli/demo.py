"""`assay demo`: the whole path in one go, from a text to its audit record and, where the model is unsure, a person."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cli.audit_reader import AuditReader
from cli.audit_show import proven_by
from cli.audit_trust import public_key as read_public_key
from cli.client import CallFailed, PublicPort
from cli.failure import CommandFailed
from cli.mesh import Mesh
from cli.options import as_json
from cli.story import REFUSED, SAMPLES, Sample, Story, answers, events
from cli.terminal import console
from cli.up import first_of, mesh_makeup, told_to_stop
from services.kernel.errors import Reason

ARRIVAL_SECONDS = 30.0
"""How long an event may take from the answer to the store; usually it is milliseconds."""
SAME_CONFIDENCE = 0.01


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder. Default: a temporary one, removed."
)
@click.option("--keep", is_flag=True, help="Keep the temporary data folder, with its logs and stores.")
@mesh_makeup
@as_json
def demo(data: Path | None, keep: bool, models: Path, host: str, json_: bool) -> None:
    """Start a mesh on a free port, send it real texts over gRPC and REST, show audit and review, stop.

    \b
    assay demo
    assay demo --json | tail -1 | jq '.texts[] | {text, label, confidence}'

    With --json the story goes to standard error and one JSON object to standard output. Exit code 1 and the reason
    when anything is not as it should be.
    """
    screen = console(stderr=json_)
    folder = data or Path(tempfile.mkdtemp(prefix="assay-demo-"))
    try:
        report = asyncio.run(_demo(folder, models, host, screen))
    except CommandFailed as error:
        if data is None:
            raise CommandFailed(f"{error.message}\nthe logs are in {folder / 'logs'}", **error.details) from None
        raise
    if data is None and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    elif keep:
        screen.print(f"Data kept in {folder}")
    if report is None:
        raise click.Abort
    if json_:
        click.echo(json.dumps(report, ensure_ascii=False))


async def _demo(folder: Path, models: Path, host: str, screen: Console) -> dict[str, Any] | None:
    """Returns the report, None when the person said stop."""
    told = told_to_stop()
    began = time.monotonic()
    story = Story(screen, began)
    story.step(
        "Starting the mesh on this machine: Valkey, NVIDIA Triton and Assay's own services, each a real process."
    )
    async with Mesh(folder, models=models, host=host, on_change=story.changed) as mesh:
        telling = asyncio.create_task(_tell(mesh, story))
        report = telling.result() if await first_of(telling, told) else None
        if report is not None:
            story.step("Stopping everything.")
    if report is not None:
        seconds = time.monotonic() - began
        report["seconds"] = round(seconds, 1)
        story.line(f"Done in {seconds:.1f} s. All of it again, for as long as you like: assay up", "bold green")
    return report


async def _tell(mesh: Mesh, story: Story) -> dict[str, Any]:
    await mesh.ready()
    report: dict[str, Any] = {"address": mesh.address, "host": mesh.host, "start_seconds": story.elapsed()}
    async with PublicPort(mesh.address, caller="assay-demo") as port:
        story.step(
            f"Classifying {len(SAMPLES)} texts at {mesh.address}, each twice: over gRPC, and over REST as plain JSON."
            " Both must answer the same."
        )
        report["texts"] = [await _classify(port, sample) for sample in SAMPLES]
        story.console.print(answers(report["texts"]))
        _check_answers(report["texts"])
        story.step("Asking something that can't be answered: the error says what is wrong, the same on both ways.")
        report["refused"] = await _refuse(port)
        story.line(f"gRPC  {report['refused']['grpc']['code']}: {report['refused']['grpc']['message']}", "yellow")
        story.line(f"REST  {report['refused']['rest']['code']}: {report['refused']['rest']['message']}", "yellow")
        story.step("Reading the audit log: each call is there, the refused ones too, personal data masked.")
        await _audit(port, report)
        story.console.print(events(report, story.console.width))
        story.step("Asking the log for a proof of the first one, and checking it against the log's public key.")
        report["proof"] = await _arrives(partial(_prove, mesh, report["texts"][0]["audit_id"]), "proof", "of it")
        story.line(
            "entry {index} of {tree_size}, {hashes} hashes up to the root that the log signed".format(**report["proof"])
        )
        story.step("Reading the review tasks: an answer below the threshold waits for a person, personal data masked.")
        await _review(port, report["texts"])
        for entry in report["texts"]:
            if entry["review_task"] is not None:
                asked = entry["review_task"]["request"]
                story.line(f"task {entry['review_task_id']}")
                story.line(f"  text       {asked['masked_text']}")
                story.line(
                    f"  the model  {asked['label']} {float(asked['confidence']):.2f}, "
                    f"not sure enough (threshold {float(asked['threshold']):.2f})"
                )
    return report


async def _classify(port: PublicPort, sample: Sample) -> dict[str, Any]:
    fields = {"text": sample.text, "model": sample.model}
    over_grpc = await port.classify(**fields)
    over_rest = await port.classify_rest(**fields)
    return {
        "text": sample.text,
        "model": over_grpc["model"],
        "model_version": over_grpc["model_version"],
        "label": over_grpc["label"],
        "confidence": over_grpc["confidence"],
        "doubtful": sample.doubtful,
        "agree": _same(over_grpc, over_rest),
        "grpc": over_grpc,
        "rest": over_rest,
        "audit_id": over_grpc["audit_id"],
        "review_task_id": over_grpc["review_task_id"] or None,
        "review_task": None,
    }


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    names = ("label", "model", "model_version")
    difference = abs(float(one["confidence"]) - float(other.get("confidence", -1)))
    return all(one[name] == other.get(name) for name in names) and difference <= SAME_CONFIDENCE


def _check_answers(texts: list[dict[str, Any]]) -> None:
    for entry in texts:
        if not entry["agree"]:
            raise CommandFailed(f"gRPC and REST differ for {entry['text']!r}", grpc=entry["grpc"], rest=entry["rest"])
        if entry["doubtful"] and entry["review_task_id"] is None:
            raise CommandFailed(f"{entry['text']!r} is doubtful, but opened no review task", answer=entry["grpc"])


async def _refuse(port: PublicPort) -> dict[str, Any]:
    refusals: dict[str, Any] = {}
    calls: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {"grpc": port.classify, "rest": port.classify_rest}
    for way, call in calls.items():
        request_id = f"demo-refused-{way}"
        try:
            await call(**REFUSED, request_id=request_id)
        except CallFailed as error:
            refusals[way] = {
                "request_id": request_id,
                "code": error.code,
                "reason": error.reason,
                "message": error.text,
                "metadata": error.metadata,
            }
        else:
            raise CommandFailed(f"a text that is too long was answered over {way}")
    if refusals["grpc"]["reason"] != refusals["rest"]["reason"] or not refusals["grpc"]["reason"]:
        raise CommandFailed("gRPC and REST refuse the same text for different reasons", **refusals)
    return refusals


async def _audit(port: PublicPort, report: dict[str, Any]) -> None:
    """Fetches the event of each call into the report and compares it with the answer."""
    for entry in report["texts"]:
        for way in ("grpc", "rest"):
            answer = entry[way]
            event = await _arrives(partial(port.event, answer["audit_id"]), "audit event", answer["audit_id"])
            recorded = event.get("answer", {})
            if recorded.get("label") != answer["label"] or event["model_version"] != answer["model_version"]:
                raise CommandFailed(f"audit event {answer['audit_id']} differs from its answer", event=event)
            entry.setdefault("audit", {})[way] = event
    for refusal in report["refused"].values():
        request_id = refusal["request_id"]
        events = await _arrives(partial(port.events, 1, request_id=request_id), "audit event of call", request_id)
        refusal["audit"] = events[0]
        if "error" not in events[0]:
            raise CommandFailed(f"the audit event of call {request_id} holds no error", event=events[0])
    _check_nothing_personal(report)


async def _prove(mesh: Mesh, event_id: str) -> dict[str, Any] | None:
    """Returns what was proven; None while the newest signed checkpoint does not reach the event."""
    return await asyncio.to_thread(_proven, mesh.address, mesh.folder.keys.audit_public, event_id)


def _proven(address: str, public_key: Path, event_id: str) -> dict[str, Any] | None:
    with AuditReader(address) as reader:
        try:
            found, _ = proven_by(reader, event_id, read_public_key(str(public_key)))
        except CallFailed as failure:
            if failure.reason == Reason.PROOF_PENDING.name:
                return None
            raise
    return {
        "event_id": event_id,
        "index": found.index,
        "tree_size": found.tree_size,
        "hashes": len(found.path),
        "checkpoint": found.checkpoint,
    }


async def _review(port: PublicPort, texts: list[dict[str, Any]]) -> None:
    """Fetches the review task of each answer that names one."""
    for entry, sample in zip(texts, SAMPLES, strict=True):
        if entry["review_task_id"] is None:
            continue
        task_id = entry["review_task_id"]
        task = await _arrives(partial(port.task, task_id), "review task", task_id)
        entry["review_task"] = task
        if task["request"]["audit_id"] != entry["audit_id"]:
            raise CommandFailed(f"review task {task_id} names another audit event", task=task)
        for word in sample.personal:
            if word in json.dumps(task, ensure_ascii=False):
                raise CommandFailed(f"review task {task_id} holds personal data that should be masked")


def _check_nothing_personal(report: Mapping[str, Any]) -> None:
    for entry, sample in zip(report["texts"], SAMPLES, strict=True):
        for event in entry["audit"].values():
            held = json.dumps(event, ensure_ascii=False)
            if any(word in held for word in sample.personal):
                raise CommandFailed(f"audit event {event['event_id']} holds personal data that should be masked")


async def _arrives(fetch: Callable[[], Awaitable[Any]], what: str, name: str) -> Any:
    """Asks until the answer is there."""
    end = time.monotonic() + ARRIVAL_SECONDS
    while True:
        try:
            found = await fetch()
        except CallFailed as error:
            if error.code != "NOT_FOUND":
                raise
            found = None
        if found:
            return found
        if time.monotonic() > end:
            raise CommandFailed(f"{what} {name} did not arrive within {ARRIVAL_SECONDS:g} s")
        await asyncio.sleep(0.05)
