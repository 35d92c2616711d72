"""assay bench outage: minutes without an event log, under steady load.

A mesh as `assay up --kafka` runs it, on Valkey where Kafka can't be had, answers a steady stream of gRPC calls. Its
event log is killed and kept down, then started again, while the calls go on. Every call must be answered, the outbox
must empty itself faster than it fills, and every audit id that was given to a caller must be in the audit log, as read
through its service, exactly once.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from assay.ai.v1 import ai_pb2, ai_pb2_grpc
from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.harness import Goal, Result, percentile
from benchmarks.texts import texts
from cli import kafka, parts
from cli.mesh import Mesh

RATE = 200
"""Calls a second."""
DRAIN_GOAL = 3.0
"""How many times faster than the intake the outbox must empty itself."""

_AROUND_SECONDS = 5.0
_CALL_SECONDS = 30.0
_TEXTS = 40
"""The shortest there are: what is looked at is the way of the records, not the models."""
_CHANNELS = 4
_PAGE = 1000
_SETTLE_SECONDS = 300.0
_POLL_SECONDS = 0.25
_OPTIONS = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Ledger:
    """What became of the calls."""

    sent: int = 0
    audit_ids: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    """By status."""
    latencies: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Drain:
    """How the outbox emptied itself."""

    depth: int
    """Events in it when the log was let go."""
    events: int
    """Events that left it, those which came meanwhile included."""
    seconds: float
    """From the first event that left until no more was there than comes in a second."""
    waited: float
    """From letting go of the log until that first event."""


def run(quick: bool) -> Result:
    """Keeps the log down for a minute when quick, else for ten."""
    return asyncio.run(_measure(60.0 if quick else 600.0, _has_kafka()))


def _has_kafka() -> bool:
    try:
        kafka.find_java()
        kafka.fetch()
    except kafka.KafkaMissing as error:
        print(f"Valkey carries the events: {error}", file=sys.stderr)
        return False
    return True


async def _measure(seconds: float, on_kafka: bool) -> Result:
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder, _progress() as progress:
        async with Mesh(Path(folder) / "mesh", kafka=on_kafka) as mesh:
            shown = progress.add_task("starting", total=None)
            await mesh.ready()
            ledger, over = Ledger(), asyncio.Event()
            log = parts.KAFKA if on_kafka else parts.VALKEY
            load = asyncio.create_task(_load(mesh.address, ledger, over))
            await _pass(progress, shown, "everything is there", _AROUND_SECONDS)
            await mesh.hold(log)
            began, failed = ledger.sent, ledger.failures.total()
            await _pass(progress, shown, f"without {log}", seconds)
            deepest = await _gateway(mesh, "gateway_outbox_events")
            during = ledger.sent - began, ledger.failures.total() - failed
            progress.update(shown, description=f"{log} is back; the outbox empties itself", total=None)
            mesh.release(log)
            drain = await _drained(mesh)
            await _pass(progress, shown, "everything is there again", _AROUND_SECONDS)
            over.set()
            await load
            progress.update(shown, description="reading the audit log", total=None)
            found, settled = await _recorded(mesh, ledger)
    return _result(log, ledger, during, deepest, drain, found, settled, seconds)


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)


async def _pass(progress: Progress, shown: object, words: str, seconds: float) -> None:
    progress.reset(shown, description=words, total=seconds)  # type: ignore[arg-type]  # a NewType over int
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress.update(shown, completed=seconds - left)  # type: ignore[arg-type]
        await asyncio.sleep(min(left, 0.5))


async def _load(address: str, ledger: Ledger, over: asyncio.Event) -> None:
    """Sends a call every 1/RATE s, whatever becomes of those before, until it is over; returns when all have ended."""
    shortest = sorted(texts(), key=lambda each: len(each.text.encode()))[:_TEXTS]
    requests = itertools.cycle([ai_pb2.TextRequest(text=each.text, model=each.model) for each in shortest])
    channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(_CHANNELS)]
    stubs = itertools.cycle([ai_pb2_grpc.AIServiceStub(channel) for channel in channels])
    running: set[asyncio.Task[None]] = set()
    start = time.monotonic()
    while not over.is_set():
        due = int((time.monotonic() - start) * RATE)
        for _ in range(due - ledger.sent):
            ledger.sent += 1
            task = asyncio.create_task(_call(next(stubs), next(requests), ledger))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.sleep(1 / RATE)
    if running:
        await asyncio.wait(running)
    for channel in channels:
        await channel.close()


async def _call(stub: ai_pb2_grpc.AIServiceAsyncStub, request: ai_pb2.TextRequest, ledger: Ledger) -> None:
    started = time.monotonic()
    try:
        answer = await stub.ClassifyText(request, timeout=_CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        ledger.failures[error.code().name] += 1
    else:
        ledger.audit_ids.append(answer.audit_id)
        ledger.latencies.append(time.monotonic() - started)


async def _gateway(mesh: Mesh, name: str) -> int:
    """Returns a figure of the gateway's metrics."""
    url = f"http://{mesh.parts[parts.GATEWAY].view.metrics}/metrics"

    def read() -> str:
        with urllib.request.urlopen(url, timeout=_CALL_SECONDS) as response:
            text: str = response.read().decode()
            return text

    found = re.search(rf"^{name} ([0-9.eE+]+)$", await asyncio.to_thread(read), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the gateway has no metric {name}")
    return int(float(found[1]))


async def _drained(mesh: Mesh) -> Drain:
    """Returns when the outbox holds no more than comes in a second."""
    released = time.monotonic()
    depth = await _gateway(mesh, "gateway_outbox_events")
    before = sent = await _gateway(mesh, "gateway_relay_events_total")
    first = released
    while await _gateway(mesh, "gateway_outbox_events") > RATE:
        if time.monotonic() - released > _SETTLE_SECONDS:
            raise RuntimeError(f"the outbox did not empty itself within {_SETTLE_SECONDS:g} s")
        if sent == before:
            first = time.monotonic()
        await asyncio.sleep(_POLL_SECONDS)
        sent = await _gateway(mesh, "gateway_relay_events_total")
    now = time.monotonic()
    events = await _gateway(mesh, "gateway_relay_events_total") - before
    return Drain(depth, events, max(now - first, _POLL_SECONDS), first - released)


async def _recorded(mesh: Mesh, ledger: Ledger) -> tuple[Counter[str], float]:
    """Reads the audit log's entries until every id that was given away is there, or nothing comes any more.

    Returns how often each event is in the log, and how many seconds after the load that was.
    """
    found: Counter[str] = Counter()
    wanted = set(ledger.audit_ids)
    started = grown = time.monotonic()
    size = 0
    async with grpc.aio.insecure_channel(mesh.parts[parts.AUDIT].view.address, options=_OPTIONS) as channel:
        audit = audit_pb2_grpc.AuditServiceStub(channel)
        while time.monotonic() - grown < 30.0:
            request = audit_pb2.ListEntriesRequest(start_index=size, page_size=_PAGE)
            page = await audit.ListEntries(request, timeout=_CALL_SECONDS)
            if page.entries:
                grown = time.monotonic()
            for entry in page.entries:
                found[audit_pb2.AuditRecord.FromString(entry.record).event.event_id] += 1
            size += len(page.entries)
            if not page.entries:
                if wanted <= found.keys() and not await _gateway(mesh, "gateway_outbox_events"):
                    break
                await asyncio.sleep(_POLL_SECONDS)
    return found, grown - started


def _result(
    log: str,
    ledger: Ledger,
    during: tuple[int, int],
    deepest: int,
    drain: Drain,
    found: Counter[str],
    settled: float,
    seconds: float,
) -> Result:
    lost = sum(not found[audit_id] for audit_id in ledger.audit_ids)
    doubled = sum(count > 1 for count in found.values())
    rate = drain.events / drain.seconds
    figures = {
        "event_log": log,
        "outage_seconds": seconds,
        "rate": RATE,
        "requests": ledger.sent,
        "requests_during_outage": during[0],
        "failed_during_outage": during[1],
        "failed_requests": ledger.failures.total(),
        "failures": dict(ledger.failures),
        "lost_events": lost,
        "doubled_events": doubled,
        "outbox_events_at_most": deepest,
        "drain_events_per_second": round(rate),
        "drain_over_intake": rate / RATE,
        "drain_seconds": drain.seconds,
        "reconnect_seconds": drain.waited,
        "audit_caught_up_seconds": settled,
        "p50_ms": percentile(ledger.latencies, 0.5) * 1000,
        "p99_ms": percentile(ledger.latencies, 0.99) * 1000,
    }
    table = [
        ["", log],
        ["seconds without an event log", f"{seconds:g}"],
        ["calls meanwhile", f"{during[0]:,}"],
        ["  failed", f"{during[1]:,}"],
        ["calls in all", f"{ledger.sent:,}"],
        ["events in the outbox at the end", f"{deepest:,}"],
        ["back at the log after", f"{drain.waited:.1f} s"],
        ["emptied in", f"{drain.seconds:.1f} s"],
        ["  events/s", f"{rate:,.0f}"],
        ["all in the audit log after", f"{settled:.1f} s"],
        ["p50, p99 of a call", f"{figures['p50_ms']:.1f}, {figures['p99_ms']:.1f} ms"],
    ]
    goals = [
        Goal("failed requests", ledger.failures.total(), "==", 0),
        Goal("lost events", lost, "==", 0),
        Goal("doubled events", doubled, "==", 0),
        Goal("drain over intake", rate / RATE, ">=", DRAIN_GOAL),
    ]
    return Result("outage", figures, goals, table)
