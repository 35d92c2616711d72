from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from services.gateway.decision import ConfidenceThreshold
from services.gateway.ports import Entry, OutboxUnavailable
from services.gateway.records import AuditRecord
from services.gateway.rejections import RejectionTail, parse
from services.gateway.scribe import Scribe
from services.gateway.tenants import Tenants
from services.kernel.errors import CATALOGUE, Reason
from services.kernel.eventlog.port import Event
from tests.fixtures.gateway.outbox import MemoryOutbox


def line(**changes: object) -> bytes:
    fields = {
        "time": "2026-11-22T19:20:22.357Z",
        "method": "POST",
        "path": "/v1/ai-services/text-classification",
        "status": 400,
        "grpc_status": None,
        "details": "grpc_json_transcode_failure{INVALID_ARGUMENT}",
        "flags": "-",
        "request_id": "454911fb-98ea-4d0d-9e88-e8cf4546bf5a",
        "caller": "tester",
        "tenant": "bank",
        "peer": "127.0.0.1",
        "request_bytes": 8,
        "duration_ms": 3,
    }
    return json.dumps(fields | changes).encode() + b"\n"


class Bench:
    """A tail over a file, before an outbox in memory."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "edge.jsonl"
        self.outbox = MemoryOutbox()
        self.records: list[AuditRecord] = []
        self.woken = 0

    def tail(self) -> RejectionTail:
        scribe = Scribe(Tenants(bytes(32)), ConfidenceThreshold(0.7))
        return RejectionTail(self.path, self.outbox, scribe, self._encode, self._wake)

    def _encode(self, record: AuditRecord, review: None) -> list[Entry]:
        self.records.append(record)
        return [Entry("audit", Event(record.audit_id, record.caller.encode()))]

    def _wake(self) -> None:
        self.woken += 1

    def write(self, *lines: bytes) -> None:
        with self.path.open("ab") as file:
            file.writelines(lines)

    @property
    def callers(self) -> list[str]:
        return [stored.entry.event.payload.decode() for stored in self.outbox.head(10_000)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.MESSAGE_MALFORMED),
        ({"grpc_status": "Internal"}, Reason.MESSAGE_MALFORMED),
        ({"status": 404, "path": "/nope"}, Reason.METHOD_UNKNOWN),
        ({"status": 405}, Reason.METHOD_UNKNOWN),
        ({"status": 413}, Reason.MESSAGE_TOO_LARGE),
        ({"status": 415}, Reason.MESSAGE_MALFORMED),
        ({"status": 431}, Reason.FIELD_INVALID),
        ({"status": 408}, Reason.DEADLINE_EXCEEDED),
        ({"status": 504}, Reason.DEADLINE_EXCEEDED),
        ({"status": 503}, Reason.PART_UNAVAILABLE),
        ({"status": 500}, Reason.INTERNAL),
        ({"status": 418}, Reason.MESSAGE_MALFORMED),
        ({"status": 403}, Reason.METHOD_UNKNOWN),
        ({"status": 200, "grpc_status": "Unimplemented"}, Reason.METHOD_UNKNOWN),
        ({"status": 200, "grpc_status": "UNAVAILABLE"}, Reason.PART_UNAVAILABLE),
        ({"status": 200, "grpc_status": "DEADLINE_EXCEEDED"}, Reason.DEADLINE_EXCEEDED),
    ],
)
def test_each_refusal_has_its_reason(changes: dict[str, object], reason: Reason) -> None:
    rejection = parse(line(**changes))
    assert rejection is not None
    assert rejection.error.reason is reason
    assert (rejection.caller, rejection.tenant) == ("tester", "bank")
    assert rejection.request_bytes == 8
    assert rejection.latency == 0.003
    assert rejection.time_ns == pytest.approx(1_795_375_222_360_000_000, abs=2e6)


def test_the_field_and_its_fault_are_taken_from_the_log() -> None:
    found = {"field": "requests[1].text", "fault": "it is a number; it must be a string"}
    rejection = parse(line(**found))
    assert rejection is not None
    assert rejection.error.metadata == found
    general = parse(line(field=None, fault=None))
    assert general is not None
    assert general.error.metadata["field"] == "request"
    assert "?" not in CATALOGUE[general.error.reason].words("en", general.error.metadata)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b'{"status": "x"}',
        line(status=200),
        line(status=304),
        line(status=200, grpc_status="OK"),
        line(status=503, details="via_upstream"),
        line(time="yesterday"),
        line(status=0),
        line(status=499),
        line(status=200, grpc_status="Cancelled", details="http2.remote_reset"),
        b"\xff\xfe",
    ],
)
def test_what_is_no_refusal_is_passed_over(text: bytes) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("claimed", [None, "", "a" * 65, "13800138000", 7])
def test_a_tenant_that_is_none_is_the_default_one(claimed: object) -> None:
    rejection = parse(line(tenant=claimed))
    assert rejection is not None
    assert rejection.tenant == "default"


def test_a_call_is_named_as_its_caller_named_it() -> None:
    rest = parse(line(status=404, path="/v1/nope"))
    assert rest is not None
    assert rest.method == "POST /v1/nope"
    grpc = parse(line(status=200, grpc_status="Unimplemented", path="/x.Y/Z"))
    assert grpc is not None
    assert grpc.method == "/x.Y/Z"


def test_new_lines_become_records_once(bench: Bench) -> None:
    tail = bench.tail()
    assert tail.read_once() is False
    bench.write(line(caller="a"), line(status=200), line(caller="b"))
    tail.read_once()
    tail.read_once()
    bench.write(line(caller="c"))
    tail.read_once()
    assert bench.callers == ["a", "b", "c"]
    assert bench.woken == 2
    assert bench.records[0].error is not None
    assert bench.records[0].text_bytes == 8


def test_personal_data_in_a_path_is_masked(bench: Bench) -> None:
    bench.write(line(status=404, path="/v1/people/13800138000"))
    bench.tail().read_once()
    (record,) = bench.records
    assert "13800138000" not in str(record)
    assert record.error is not None
    assert "13800138000" not in str(record.error.metadata)
    assert record.method == "POST /v1/people/[hidden]"


def test_half_a_line_waits_for_its_other_half(bench: Bench) -> None:
    tail, whole = bench.tail(), line(caller="late")
    bench.write(line(caller="first"), whole[:40])
    tail.read_once()
    tail.read_once()
    assert bench.callers == ["first"]
    bench.write(whole[40:])
    tail.read_once()
    assert bench.callers == ["first", "late"]


def test_a_new_process_reads_on_where_the_old_one_stopped(bench: Bench) -> None:
    bench.write(line(caller="a"))
    bench.tail().read_once()
    bench.write(line(caller="b"))
    bench.tail().read_once()
    assert bench.callers == ["a", "b"]


def test_a_new_file_or_one_that_was_cut_is_read_from_its_start(bench: Bench) -> None:
    tail = bench.tail()
    bench.write(line(caller="a"), line(caller="b"))
    tail.read_once()
    os.truncate(bench.path, 0)
    bench.write(line(caller="c"))
    tail.read_once()
    bench.path.rename(bench.path.with_suffix(".old"))
    bench.write(line(caller="d"), line(caller="e"), line(caller="f"))
    tail.read_once()
    assert bench.callers == ["a", "b", "c", "d", "e", "f"]


def test_a_refusing_outbox_gets_the_lines_later(bench: Bench) -> None:
    tail = bench.tail()
    bench.write(line(caller="a"))
    bench.outbox.broken = True
    with pytest.raises(OutboxUnavailable):
        tail.read_once()
    bench.outbox.broken = False
    tail.read_once()
    assert bench.callers == ["a"]


def test_rubbish_does_not_stop_it(bench: Bench) -> None:
    tail = bench.tail()
    bench.write(b"x" * 600_000, b"\n", line(caller="a"))
    while tail.read_once():
        pass
    assert bench.callers == ["a"]


def test_much_at_once_is_taken_in_parts(bench: Bench) -> None:
    tail = bench.tail()
    bench.write(*(line(caller=str(number)) for number in range(3000)))
    rounds = 1
    while tail.read_once():
        rounds += 1
    assert bench.callers == [str(number) for number in range(3000)]
    assert rounds > 1


def test_what_was_read_is_given_back_to_the_disk(bench: Bench) -> None:
    tail = bench.tail()
    filler = line(status=200, path="x" * 10_000)
    bench.write(*([filler] * 2000), line(caller="before"))
    size = bench.path.stat().st_size
    assert size > 16 << 20
    while tail.read_once():
        pass
    bench.write(line(caller="after"))
    tail.read_once()
    assert bench.callers == ["before", "after"]
    state = bench.path.stat()
    assert state.st_size > size
    if state.st_blocks * 512 > size // 2:
        pytest.skip("this file system can't punch holes")


def test_a_value_that_would_be_cut_in_half_is_masked_whole(bench: Bench) -> None:
    bench.write(line(caller="x" * 120 + " 13800138000"))
    bench.write(line(caller="x" * 110 + " 13800138000"))
    bench.tail().read_once()
    assert all("1380" not in caller for caller in bench.callers)
