"""`assay audit hold`, `erase`, `expire` and `archive`, as a person sees them, with a fake AuditAdminService."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from click.testing import CliRunner, Result
from google.protobuf.duration_pb2 import Duration

from cli.audit import audit
from tests.unit.cli.serving import serving


class FakeAdmin(audit_pb2_grpc.AuditAdminServiceServicer):
    """Answers and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.doubted = Duration()
        self.address = ""

    async def ErasePerson(self, request: Any, context: Any) -> audit_pb2.ErasePersonResponse:
        self.asked.append(request)
        return audit_pb2.ErasePersonResponse(event_id="e1", events=7)

    async def PlaceHold(self, request: Any, context: Any) -> audit_pb2.PlaceHoldResponse:
        self.asked.append(request)
        request.hold.hold_id = "h1"
        return audit_pb2.PlaceHoldResponse(hold=request.hold)

    async def ListHolds(self, request: Any, context: Any) -> audit_pb2.ListHoldsResponse:
        hold = audit_pb2.Hold(hold_id="h1", tenant="acme", note="case 12")
        hold.start_time.FromJsonString("2026-03-01T00:00:00Z")
        return audit_pb2.ListHoldsResponse(holds=[hold])

    async def ExpireEvents(self, request: Any, context: Any) -> audit_pb2.ExpireEventsResponse:
        self.asked.append(request)
        return audit_pb2.ExpireEventsResponse(events=3, doubted=self.doubted)

    async def ArchiveEvents(self, request: Any, context: Any) -> audit_pb2.ArchiveEventsResponse:
        self.asked.append(request)
        return audit_pb2.ArchiveEventsResponse(objects=["2026-01/0-9.log"], events=10)

    def run(self, *arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(audit, [*arguments, "--audit-address", self.address], input=typed)


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    fake = FakeAdmin()
    with serving(partial(audit_pb2_grpc.add_AuditAdminServiceServicer_to_server, fake)) as fake.address:
        yield fake


def test_erasure_asks_first(admin: FakeAdmin) -> None:
    erase = ("erase", "--tenant", "acme", "--caller", "ward-7", "--operator", "dpo")
    refused = admin.run(*erase, typed="n\n")
    assert refused.exit_code == 1
    assert "There is no way back" in refused.output
    assert admin.asked == []
    done = admin.run(*erase, "--note", "request 31", typed="y\n")
    assert "7 events erased; event e1 says so" in done.output
    wanted = audit_pb2.ErasePersonRequest(tenant="acme", caller="ward-7", note="request 31", operator="dpo")
    assert admin.asked == [wanted]
    assert admin.run(*erase, "--yes").exit_code == 0


@pytest.mark.parametrize("whom", [[], ["--caller", "a", "--subject", "b"]])
def test_erasure_takes_one_person(admin: FakeAdmin, whom: list[str]) -> None:
    answer = admin.run("erase", "--tenant", "acme", "--yes", *whom)
    assert answer.exit_code == 2
    assert "give either --caller or --subject" in answer.output


def test_a_hold_is_placed_by_whoever_types_it(admin: FakeAdmin) -> None:
    answer = admin.run("hold", "place", "--tenant", "acme", "--until", "2026-06-01T08:00:00+08:00")
    assert "hold h1 is in force" in answer.output
    [asked] = admin.asked
    assert asked.operator == getpass.getuser()
    assert asked.hold.end_time.ToJsonString() == "2026-06-01T00:00:00Z"
    assert not asked.hold.HasField("start_time")


def test_holds_are_a_table_or_json(admin: FakeAdmin) -> None:
    lines = admin.run("hold", "list").output.splitlines()
    assert lines[0].split("  ")[0] == "hold"
    for word in ("h1", "acme", "all", "2026-03-01 00:00:00", "open", "case 12"):
        assert word in lines[1]
    [hold] = json.loads(admin.run("hold", "list", "--json").output)
    assert (hold["hold_id"], hold["note"]) == ("h1", "case 12")


def test_expiry_says_what_it_doubts_and_what_to_do(admin: FakeAdmin) -> None:
    assert admin.run("expire").output == "3 contents removed\n"
    admin.doubted.FromSeconds(200 * 86_400)
    answer = admin.run("expire", "--trust-clock").output
    assert "200 days, 0:00:00 passed while nobody looked" in answer
    assert "assay audit expire --trust-clock" in answer
    assert [asked.trust_clock for asked in admin.asked] == [False, True]


def test_the_archive_lists_its_objects(admin: FakeAdmin) -> None:
    answer = admin.run("archive", "--before", "2026-02-01").output
    assert "2026-01/0-9.log" in answer
    assert "10 contents archived" in answer
    assert admin.asked[0].before.ToJsonString() == "2026-02-01T00:00:00Z"


def test_an_address_where_nothing_answers_is_said() -> None:
    answer = CliRunner().invoke(audit, ["hold", "list", "--audit-address", "127.0.0.1:1"])
    assert answer.exit_code == 1
    assert "nothing answers at 127.0.0.1:1" in answer.output
