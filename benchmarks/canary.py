"""assay bench canary: whether a raw value of a call can be found anywhere but in the call.

A mesh gets calls that hold known values, failing ones too (canary_requests.py). Then everything it left is searched for
them: every file of the data folder, what the streams, tables and metrics pages hold, what the audit log and the review
desk say, and what the answers said. A value is looked for as it was written and without its separators, in UTF-8,
UTF-16, percent-encoded, escaped as JSON and in base64. A value that is planted at the end must be found, or the search
itself is at fault.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import sys
import tempfile
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import re2
import redis
from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from assay.review.v1 import review_pb2, review_pb2_grpc
from rich.console import Console
from rich.progress import Progress

from benchmarks.canary_requests import Answers, Caller
from benchmarks.harness import Goal, Result
from benchmarks.masking_corpus import Corpus
from cli import parts
from cli.mesh import Mesh

SEED = 11
_REQUESTS, _QUICK_REQUESTS = 50_000, 3_000
_VALUES_OF_A_KIND, _QUICK_VALUES_OF_A_KIND = 20, 6
_CALLERS = 24
_CHUNK, _OVERLAP = 8 << 20, 4096
_SETTLE_SECONDS = 600.0
_PAGE = 1000
_WIDTHLESS = "\u200b\u200c\u200d\ufeff\u2060\u00ad"
_LEAST_FORM = 7  # characters; a shorter form of a value would be found by chance
_AROUND = 60
_EXAMPLES_OF_A_PLACE = 12
_SEARCH_BYTES = 1 << 30  # what RE2 may use for its automaton


def run(quick: bool) -> Result:
    """Makes 50,000 calls, 3,000 when quick, and searches what they left."""
    return asyncio.run(_measure(_QUICK_REQUESTS if quick else _REQUESTS, quick))


class Needles:
    """The forms of all values, as one automaton."""

    def __init__(self, values: Sequence[str]) -> None:
        forms: set[bytes] = set()
        for value in values:
            forms.update(_forms(value))
        self.count = len(forms)
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.max_mem = _SEARCH_BYTES
        options.never_capture = True
        self._any = re2.compile(b"|".join(re2.escape(form) for form in sorted(forms)), options)

    def found(self, data: bytes) -> list[bytes]:
        """Returns each occurrence of a form, with what stands around it."""
        spans = [match.span() for match in self._any.finditer(data)]
        return [data[max(0, start - _AROUND) : stop + _AROUND] for start, stop in spans]


def _forms(value: str) -> Iterator[bytes]:
    """Yields what a raw value can look like on a disk."""
    bare = "".join(character for character in value if character not in _WIDTHLESS)
    written = {value, bare, bare.upper(), bare.lower()}
    compact = "".join(character for character in bare if character.isalnum())
    if compact.isdigit() or sum(character.isdigit() for character in compact) >= _LEAST_FORM:
        written.add(compact)
    for form in written:
        if len(form) < _LEAST_FORM:
            continue
        encoded = form.encode()
        yield encoded
        yield form.encode("utf-16-le")
        yield urllib.parse.quote(form, safe="").encode()
        yield urllib.parse.quote(form).encode()
        yield json.dumps(form)[1:-1].encode()
        for shift in range(3):
            # What three bytes of base64 share with their neighbours is left out.
            coded = base64.b64encode(b"\0" * shift + encoded)
            yield coded[(0, 2, 3)[shift] : len(coded) - 4]


async def _measure(count: int, quick: bool) -> Result:
    corpus = Corpus(SEED)
    each = _QUICK_VALUES_OF_A_KIND if quick else _VALUES_OF_A_KIND
    values = sorted({value for kind in sorted(corpus.kinds) for value in corpus.values(kind, each)})
    needles = Needles(values)
    found: Counter[str] = Counter()
    searched: Counter[str] = Counter()
    examples: list[str] = []

    def search(place: str, data: bytes) -> None:
        searched[place.partition(" ")[0]] += len(data)
        for form in needles.found(data):
            found[place] += 1
            if found[place] <= _EXAMPLES_OF_A_PLACE:
                examples.append(f"{place}: {form.decode(errors='replace')}")

    settings = {parts.GATEWAY: {"CONFIDENCE_THRESHOLD": "0.9"}}
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder, _progress() as progress:
        data = Path(folder) / "mesh"
        async with Mesh(data, settings=settings) as mesh:
            shown = progress.add_task("starting", total=count)
            await mesh.ready()
            progress.update(shown, description="calls")
            answers = await _calls(mesh.address, values, count, lambda: progress.advance(shown))
            progress.update(shown, description="settling", total=None)
            events, tokens = await _settled(mesh, answers)
            for event in events:
                search("records of the audit log", event)
            for task in await _reviews(mesh):
                search("records of the review desk", task)
            for name, page in await asyncio.to_thread(_pages, mesh):
                search(f"metrics of {name}", page)
            for stream, entry in await asyncio.to_thread(_streams, mesh.event_log):
                search(f"streams {stream}", entry)
            for said in answers.heard:
                search("answers", said)
        progress.update(shown, description="searching")
        files = _files(data, search)
        _tables(data, search)
        planted = data / "planted"
        planted.write_bytes(b"before " + values[0].encode() + b" after")
        control = len(needles.found(planted.read_bytes()))
    return _result(answers, len(values), needles.count, files, searched, found, examples, control, len(events), tokens)


def _progress() -> Progress:
    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


async def _calls(address: str, values: Sequence[str], count: int, made: Any) -> Answers:
    callers = [Caller(address, values, SEED + number) for number in range(_CALLERS)]
    shares = [count // _CALLERS + (number < count % _CALLERS) for number in range(_CALLERS)]
    await asyncio.gather(*(caller.run(share, made) for caller, share in zip(callers, shares, strict=True)))
    answers = Answers()
    for caller in callers:
        answers.counts.update(caller.answers.counts)
        answers.heard += caller.answers.heard
        await caller.close()
    return answers


async def _settled(mesh: Mesh, answers: Answers) -> tuple[list[bytes], int]:
    """Waits until the audit log grows no more; returns its events and how many tokens their texts hold."""
    events: list[audit_pb2.AuditEvent] = []
    async with grpc.aio.insecure_channel(mesh.address) as channel, asyncio.timeout(_SETTLE_SECONDS):
        stub: Any = audit_pb2_grpc.AuditServiceStub(channel)
        still = 0
        while still < 3:
            before, events = len(events), await _all(stub.ListEvents, audit_pb2.ListEventsRequest, "events")
            still = still + 1 if len(events) == before and len(events) >= answers.total * 0.9 else 0
            await asyncio.sleep(1.0)
    tokens = sum(event.input.masked_text.count(":") for event in events)
    return [event.SerializeToString() for event in events], tokens


async def _reviews(mesh: Mesh) -> list[bytes]:
    async with grpc.aio.insecure_channel(mesh.address) as channel:
        stub: Any = review_pb2_grpc.ReviewServiceStub(channel)
        tasks = await _all(stub.ListTasks, review_pb2.ListTasksRequest, "tasks")
    return [task.SerializeToString() for task in tasks]


async def _all(call: Any, request: Any, name: str) -> list[Any]:
    found: list[Any] = []
    token = ""
    while True:
        page = await call(request(page_size=_PAGE, page_token=token))
        found += getattr(page, name)
        token = page.next_page_token
        if not token:
            return found


def _pages(mesh: Mesh) -> list[tuple[str, bytes]]:
    pages = []
    for name, part in mesh.parts.items():
        if part.view.metrics:
            with urllib.request.urlopen(f"http://{part.view.metrics}/metrics", timeout=10) as response:
                pages.append((name, response.read()))
    return pages


def _streams(url: str) -> list[tuple[str, bytes]]:
    """Returns every entry of every stream."""
    client: Any = redis.Redis.from_url(url)
    entries = []
    for key in client.keys("*"):
        if client.type(key) == b"stream":
            for _, fields in client.xrange(key):
                entries.append((key.decode(), b"\0".join(item for pair in fields.items() for item in pair)))
        else:
            entries.append((key.decode(), repr(client.dump(key)).encode()))
    client.close()
    return entries


def _files(folder: Path, search: Any) -> int:
    """Searches every file, its name too; returns how many there were."""
    count = 0
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        search("names of files", name.encode())
        if not path.is_file():
            continue
        count += 1
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(_CHUNK):
                search(f"files {name}", tail + chunk)
                tail = (tail + chunk)[-_OVERLAP:]
    return count


def _tables(folder: Path, search: Any) -> None:
    """Searches each cell of each table: in the file a long one lies in pieces."""
    for path in sorted(folder.rglob("*.sqlite3")):
        database = sqlite3.connect(path)
        database.text_factory = bytes
        names = [row[0].decode() for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            for row in database.execute(f'SELECT * FROM "{name}"'):
                cells = (cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)
                search(f"tables {path.name} {name}", b"\0".join(cells))
        database.close()


def _result(
    answers: Answers,
    values: int,
    forms: int,
    files: int,
    searched: Counter[str],
    found: Counter[str],
    examples: list[str],
    control: int,
    events: int,
    tokens: int,
) -> Result:
    figures: dict[str, Any] = {
        "seed": SEED,
        "requests": answers.total,
        "refused": sum(count for name, count in answers.counts.items() if name.rpartition(" ")[2] not in ("OK", "200")),
        "audit_events": events,
        "tokens_in_audit_log": tokens,
        "values": values,
        "forms": forms,
        "files": files,
        "bytes_searched": dict(searched),
        "raw_bytes_found": sum(found.values()),
        "found_in": dict(found),
        "examples": examples,
        "calls": dict(sorted(answers.counts.items())),
    }
    table = [["", "MB searched", "found"]]
    for place, size in sorted(searched.items()):
        count = sum(number for name, number in found.items() if name.partition(" ")[0] == place)
        table.append([place, f"{size / 1e6:,.2f}", str(count)])
    goals = [
        Goal("raw values found", sum(found.values()), "==", 0),
        Goal("planted values found", control, "==", 1),
        Goal("tokens in the audit log", tokens, ">=", 1),
    ]
    return Result("canary", figures, goals, table)
