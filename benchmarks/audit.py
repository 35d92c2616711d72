"""assay bench audit: what the audit log costs: durable appends, a proof out of a large log, the verification of one.

Appends go the consumer's way, in batches of 500: parse, recognise repeats, seal, hash, insert, and a commit that syncs
the disk, on SQLite and, where it is installed, on a real PostgreSQL. A proof is what GetInclusionProof does, from the
event's id to the path. A verification reads a file of exported entries as `assay audit verify` does.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from assay.audit.v1 import audit_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.progress import Progress

from benchmarks.harness import Goal, Result, percentile
from benchmarks.postgres_server import PostgresMissing, running_postgres
from services.audit import convert
from services.audit.adapters.postgres import PostgresEventStore
from services.audit.adapters.sqlite import SqliteEventStore
from services.audit.adapters.store import SqlEventStore
from services.audit.merkle import tiles
from services.audit.merkle.entries import framed, read_content, read_entries
from services.audit.merkle.frontier import Frontier
from services.audit.merkle.hashing import HASH_BYTES, leaf_hash
from services.audit.merkle.notes import Checkpoint, Signer
from services.audit.merkle.proofs import verify_inclusion
from services.audit.merkle.verification import verify
from services.audit.proofs import Prover
from services.audit.records import record_of
from services.audit.vault import Vault
from services.kernel.eventlog.port import Event
from services.kernel.identifiers import uuid7
from services.kernel.sql import Transaction

APPENDS_GOAL = 3_000
PROOF_MS_GOAL = 5.0
VERIFY_SECONDS_GOAL = 60.0

_LARGE = 1_000_000
_BATCH = 500
_PEOPLE = 500
_PROOFS = 1_000
_LOG_NAME = "bench.example/audit"
_QUICK = {"appends": 10_000, "verified": 100_000}
_FULL = {"appends": 60_000, "verified": _LARGE}


def run(quick: bool) -> Result:
    """Measures all three; --quick verifies 100,000 records and says by proportion what 1,000,000 would take."""
    sizes = _QUICK if quick else _FULL
    with tempfile.TemporaryDirectory(prefix="assay-bench-audit-") as name:
        folder = Path(name)
        events = [_event(number) for number in range(sizes["appends"])]
        sqlite = asyncio.run(_appends(SqliteEventStore(folder / "appends.sqlite3", _vault()), events))
        postgres = _postgres_appends(events)
        proofs = asyncio.run(_proof_milliseconds(folder / "proofs.sqlite3"))
        verify_seconds = _verify_seconds(folder / "entries.log", sizes["verified"])
    p50, p99, most = percentile(proofs, 0.5), percentile(proofs, 0.99), max(proofs)
    scaled = verify_seconds * _LARGE / sizes["verified"]
    verified_name = "verify_1m_seconds" if sizes["verified"] == _LARGE else "verify_1m_seconds_by_proportion"
    return Result(
        bench="audit",
        figures={
            "appends_per_second": round(sqlite),
            "appends_per_second_postgres": round(postgres) if postgres else None,
            "appended": sizes["appends"],
            "proof_leaves": _LARGE,
            "proof_ms_p50": round(p50, 3),
            "proof_ms_p99": round(p99, 3),
            "proof_ms_max": round(most, 3),
            "verified_records": sizes["verified"],
            "verify_seconds": round(verify_seconds, 2),
        },
        goals=[
            Goal("durable appends/s (SQLite)", sqlite, ">=", APPENDS_GOAL),
            Goal(f"inclusion proof out of {_LARGE:,} leaves, ms (p99)", p99, "<=", PROOF_MS_GOAL),
            Goal(verified_name, scaled, "<=", VERIFY_SECONDS_GOAL),
        ],
        table=[
            ("what", "figure", "goal"),
            ("durable appends/s, SQLite", f"{sqlite:,.0f}", f">= {APPENDS_GOAL:,}"),
            ("durable appends/s, PostgreSQL", f"{postgres:,.0f}" if postgres else "not installed", ""),
            (f"inclusion proof of {_LARGE:,}, ms p50 / p99 / max", f"{p50:.2f} / {p99:.2f} / {most:.2f}", "<= 5 (p99)"),
            (f"verification of {sizes['verified']:,} records, s", f"{verify_seconds:.1f}", ""),
            (f"verification of {_LARGE:,} records, s", f"{scaled:.1f}", f"<= {VERIFY_SECONDS_GOAL:.0f}"),
        ],
    )


def _vault() -> Vault:
    return Vault(os.urandom(32))


def _event(number: int) -> Event:
    """An event as the gateway writes it of a short text."""
    message = audit_pb2.AuditEvent(
        event_id=uuid7(),
        schema=1,
        create_time=Timestamp(seconds=1_750_000_000 + number // 200, nanos=number % 200 * 5_000_000),
        tenant="default",
        caller=f"caller-{number % _PEOPLE}",
        request_id=f"request-{number}",
        method="/assay.ai.v1.AIService/ClassifyText",
        model="banking",
        model_version="v1.0.0",
        industry="finance",
        tier="large",
        gateway="gateway-1/4711",
        latency=Duration(nanos=4_200_000),
        answer=audit_pb2.AuditAnswer(label=f"label_{number % 77}", confidence=0.5 + number % 50 / 100),
        input=audit_pb2.AuditInput(
            text_hmac=os.urandom(32),
            bytes=95,
            characters=95,
            tokens=24,
            masked_text=f"my card [card:{number:016x}] was charged twice yesterday, what shall I do?",
        ),
    )
    return Event(message.event_id, message.SerializeToString())


async def _appends(store: SqlEventStore, events: Sequence[Event]) -> float:
    """Returns how many were appended in a second, from their bytes on."""
    await store.ping()
    start = time.perf_counter()
    for at in range(0, len(events), _BATCH):
        await store.put([convert.to_arrival(event) for event in events[at : at + _BATCH]])
    seconds = time.perf_counter() - start
    size = await store.tree(lambda size, read: size)
    await store.close()
    if size != len(events):
        raise RuntimeError(f"{len(events)} events became {size} entries")
    return len(events) / seconds


def _postgres_appends(events: Sequence[Event]) -> float | None:
    try:
        with running_postgres() as server:
            return asyncio.run(_appends(PostgresEventStore(server.url(), _vault()), events))
    except PostgresMissing:
        return None


async def _proof_milliseconds(path: Path) -> list[float]:
    """Returns how long each of some proofs out of a large log took; every one is checked."""
    chance = random.Random(7)
    store = SqliteEventStore(path, _vault())
    hashes = [chance.randbytes(HASH_BYTES) for _ in range(_LARGE)]
    indexes = chance.sample(range(_LARGE), _PROOFS)

    def build(transaction: Transaction) -> bytes:
        tree: dict[tuple[int, int], bytes] = {}

        def read(level: int, number: int) -> bytes:
            return tree.get((level, number), b"")

        for at in range(0, _LARGE, 1 << 16):
            tree.update(tiles.append(at, hashes[at : at + (1 << 16)], read))
        transaction.executemany("INSERT INTO tiles VALUES (?, ?, ?)", [(*place, tile) for place, tile in tree.items()])
        transaction.executemany(
            "INSERT INTO event_ids VALUES (?, ?, 0, ?)", [(f"event-{index}", index, b"") for index in indexes]
        )
        transaction.execute("UPDATE head SET size = ?", (_LARGE,))
        return tiles.root(_LARGE, read)

    root = await store.database.write(build)
    signer = Signer.generate(_LOG_NAME)
    await store.save_checkpoint(_LARGE, signer.sign(Checkpoint(_LOG_NAME, _LARGE, root)))
    prover = Prover(store, signer.verifier)
    taken = []
    for index in indexes:
        start = time.perf_counter()
        proof = await prover.inclusion(f"event-{index}", 0)
        taken.append((time.perf_counter() - start) * 1000)
        if not verify_inclusion(hashes[index], index, _LARGE, proof.path, root):
            raise RuntimeError(f"the proof of leaf {index} does not hold")
    await store.close()
    return taken


def _verify_seconds(path: Path, count: int) -> float:
    """Returns how long the verification of an exported log took."""
    frontier = Frontier()
    with path.open("wb") as file, _progress("writing entries", count) as advance:
        for start in range(0, count, 1000):
            hashes = []
            for index, record in enumerate(_records(start, 1000), start):
                hashes.append(leaf_hash(record))
                entry = audit_pb2.LogEntry(
                    index=index, leaf_hash=hashes[-1], record=record, state=audit_pb2.ENTRY_STATE_PRESENT
                )
                file.write(framed(entry))
            frontier.extend(hashes)
            advance(start + 1000)
    checkpoint = Checkpoint(_LOG_NAME, count, frontier.root())
    with path.open("rb") as file, _progress("verifying", count) as advance:
        start_time = time.perf_counter()
        verdict = verify(read_entries(file), [checkpoint], read_content, progress=advance)
        seconds = time.perf_counter() - start_time
    if not verdict.ok or verdict.proven != count:
        raise RuntimeError(f"an untouched log was found bad: {verdict.finding}")
    return seconds


def _records(start: int, count: int) -> Iterator[bytes]:
    vault = _vault()
    key = vault.key(*vault.new_key())
    for number in range(start, start + count):
        yield record_of(_event(number).payload, 1_750_000_000 * 10**9 + number, key)


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields what to call with how many are done."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
