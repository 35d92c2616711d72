"""`assay audit export`, against an AuditService that answers from memory."""

from __future__ import annotations

import csv
import json
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from assay.errors.v1 import errors_pb2
from click.testing import CliRunner, Result
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from pyarrow import parquet

from cli import audit_formats
from cli.audit import audit
from cli.audit_formats import COLUMNS
from services.audit.merkle.entries import read_entries
from services.audit.merkle.hashing import leaf_hash
from services.audit.merkle.notes import Checkpoint, Signer
from services.audit.merkle.tiles import append, root
from tests.fixtures.audit import audit_event
from tests.unit.cli.serving import serving

SIZE = 2300


def made(number: int) -> audit_pb2.AuditEvent:
    event = audit_event(number, latency=Duration(nanos=1_500_000), subject="[subject:1]", tier="large")
    event.create_time.nanos = 123_456_789
    match number % 5:
        case 1:
            error = errors_pb2.Error(
                reason=errors_pb2.ERROR_REASON_TEXT_TOO_LARGE, metadata={"bytes": "7", "limit": "5"}
            )
            event.error.CopyFrom(error)
        case 2:
            event.action.contents_expired.ranges.add(start_index=0, end_index=7)
            event.ClearField("input")
        case 3:
            event.input.masked_text = '=cmd|"/c calc"!A1, 中文\nline two'
            event.caller = "@SUM(A1)"
    return event


EVENTS = [made(number) for number in range(SIZE)]
SIGNER = Signer.generate("test.example/audit")


class FakeAudit(audit_pb2_grpc.AuditServiceServicer):
    """Serves EVENTS, newest first, and as a log."""

    def __init__(self) -> None:
        self.asked: list[audit_pb2.ListEventsRequest] = []
        self.records = [audit_pb2.AuditRecord(event=event).SerializeToString() for event in EVENTS]
        tiles: dict[tuple[int, int], bytes] = {}
        tiles.update(append(0, [leaf_hash(record) for record in self.records], lambda *place: tiles.get(place, b"")))
        self._tiles = tiles
        self.note = self.signed(SIZE)
        self.older_notes: list[str] = []
        self.missing_from = SIZE
        self.expired: set[int] = set()

    def signed(self, size: int) -> str:
        return SIGNER.sign(Checkpoint(SIGNER.name, size, root(size, lambda *place: self._tiles[place])))

    async def ListEvents(self, request: audit_pb2.ListEventsRequest, context: Any) -> audit_pb2.ListEventsResponse:
        self.asked.append(request)
        start = int(request.page_token or 0)
        end = start + request.page_size
        token = str(end) if end < SIZE else ""
        return audit_pb2.ListEventsResponse(events=EVENTS[::-1][start:end], next_page_token=token)

    async def GetCheckpoint(self, request: Any, context: Any) -> audit_pb2.GetCheckpointResponse:
        note = self.older_notes.pop(0) if self.older_notes else self.note
        return audit_pb2.GetCheckpointResponse(checkpoint=note, public_key=SIGNER.verifier.vkey)

    async def ListEntries(self, request: audit_pb2.ListEntriesRequest, context: Any) -> audit_pb2.ListEntriesResponse:
        end = min(self.missing_from, request.start_index + request.page_size)
        return audit_pb2.ListEntriesResponse(
            entries=[
                audit_pb2.LogEntry(
                    index=index,
                    leaf_hash=leaf_hash(self.records[index]),
                    record=b"" if index in self.expired else self.records[index],
                    state=audit_pb2.ENTRY_STATE_EXPIRED if index in self.expired else audit_pb2.ENTRY_STATE_PRESENT,
                )
                for index in range(request.start_index, end)
            ]
        )


class Served:
    """The fake at an address."""

    def __init__(self, fake: FakeAudit, address: str) -> None:
        self.fake = fake
        self.address = address

    def export(self, *arguments: str) -> Result:
        return CliRunner().invoke(audit, ["export", "--address", self.address, *arguments])


@pytest.fixture
def served() -> Iterator[Served]:
    fake = FakeAudit()
    with serving(partial(audit_pb2_grpc.add_AuditServiceServicer_to_server, fake)) as address:
        yield Served(fake, address)


def private(file: Path) -> bool:
    return stat.S_IMODE(file.stat().st_mode) == 0o600


def test_parquet_has_typed_columns(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_formats, "ROW_GROUP", 1000)
    file = tmp_path / "events.parquet"
    answer = served.export(str(file), "--json")
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout) == {
        "file": str(file),
        "format": "parquet",
        "bytes": file.stat().st_size,
        "events": SIZE,
    }
    assert private(file)
    assert parquet.ParquetFile(file).num_row_groups == 3
    table = parquet.read_table(file)
    assert table.column_names == list(COLUMNS)
    assert str(table.schema.field("create_time").type) == "timestamp[ns, tz=UTC]"
    assert str(table.schema.field("confidence").type) == "float"
    rows = table.drop_columns(["create_time"]).to_pylist()
    newest = rows[0]
    assert newest["event_id"] == EVENTS[-1].event_id
    assert table["create_time"].cast("int64").to_pylist()[0] == EVENTS[-1].create_time.ToNanoseconds()
    answered, refused, acted = (rows[SIZE - 1 - number] for number in (0, 1, 2))
    assert (answered["outcome"], answered["label"], answered["confidence"]) == ("answer", "card_lost", 0.75)
    assert (answered["text_bytes"], answered["latency_ns"], answered["reason"]) == (12, 1_500_000, None)
    assert (refused["outcome"], refused["reason"]) == ("error", "TEXT_TOO_LARGE")
    assert json.loads(refused["details"]) == {"bytes": "7", "limit": "5"}
    assert refused["confidence"] is None
    assert (acted["outcome"], acted["masked_text"], acted["text_bytes"]) == ("action", None, None)
    assert json.loads(acted["details"]) == {"contents_expired": {"ranges": [{"start_index": "0", "end_index": "7"}]}}


def test_csv_reads_back_and_holds_no_formula(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    assert served.export(str(file)).exit_code == 0
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == SIZE
    assert rows[0]["create_time"] == "1970-01-01T00:54:59.123456789Z"
    risky = rows[SIZE - 1 - 3]
    assert risky["masked_text"] == "'" + EVENTS[3].input.masked_text
    assert risky["caller"] == "'@SUM(A1)"
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


def test_json_lines_are_the_events(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "out"
    assert served.export(str(file), "--format", "jsonl").exit_code == 0
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [ParseDict(json.loads(line), audit_pb2.AuditEvent()) for line in lines] == EVENTS[::-1]


def test_a_log_is_what_verifiers_read_with_its_checkpoint_beside_it(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    answer = served.export(str(file), "--json")
    assert json.loads(answer.stdout)["entries"] == SIZE
    with file.open("rb") as opened:
        assert [entry.record for entry in read_entries(opened)] == served.fake.records
    beside = tmp_path / "audit.log.checkpoint"
    assert beside.read_text() == served.fake.note
    assert private(file)
    assert private(beside)
    verified = CliRunner().invoke(audit, ["verify", str(file), "--public-key", SIGNER.verifier.vkey])
    assert verified.exit_code == 0, verified.output


def test_a_log_that_loses_contents_meanwhile_reaches_to_the_entry_that_says_so(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    served.fake.expired = {0, 1}
    served.fake.older_notes = [served.fake.signed(2000), served.fake.signed(2001)]
    answer = served.export(str(file), "--json")
    assert json.loads(answer.stdout)["entries"] == SIZE
    assert (tmp_path / "audit.log.checkpoint").read_text() == served.fake.note
    verified = CliRunner().invoke(audit, ["verify", str(file), "--public-key", SIGNER.verifier.vkey])
    assert verified.exit_code == 0, verified.output


def test_filters_are_asked_for(served: Served, tmp_path: Path) -> None:
    filters = ["--tenant", "acme", "--caller", "c", "--subject", "s", "--request-id", "r", "--model", "m"]
    filters += ["--label", "l", "--outcome", "error", "--min-confidence", "0", "--max-confidence", "0.5"]
    filters += ["--since", "2026-11-23", "--until", "2026-11-23T21:00:00+08:00"]
    assert served.export(str(tmp_path / "a.csv"), *filters).exit_code == 0
    asked = served.fake.asked[0]
    assert (asked.tenant, asked.caller, asked.subject, asked.request_id, asked.model) == ("acme", "c", "s", "r", "m")
    assert (asked.label, asked.outcome, asked.min_confidence, asked.max_confidence) == ("l", "error", 0.0, 0.5)
    assert asked.HasField("min_confidence")
    assert asked.start_time.ToJsonString() == "2026-11-23T00:00:00Z"
    assert asked.end_time.ToJsonString() == "2026-11-23T13:00:00Z"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.xyz"], "says no format"),
        (["x.log", "--tenant", "acme"], "a log is whole or worth nothing; leave out tenant"),
        (["x.csv", "--since", "yesterday"], "is no time; write 2026-11-23"),
        (["x.csv", "--min-confidence", "2"], "0<=x<=1"),
    ],
)
def test_wrong_usage_is_said(served: Served, arguments: list[str], words: str) -> None:
    answer = served.export(*arguments)
    assert answer.exit_code == 2
    assert words in answer.output


def test_what_fails_leaves_the_file_that_was_there(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_text("old")
    served.fake.missing_from = 1500
    answer = served.export(str(file))
    assert answer.exit_code == 1
    assert f"the log ends at entry 1500, and its checkpoint says that it has {SIZE}" in answer.output
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["audit.log"]
    nowhere = served.export(str(tmp_path / "none" / "a.csv"))
    assert nowhere.exit_code == 1
    assert "can't write" in nowhere.output
