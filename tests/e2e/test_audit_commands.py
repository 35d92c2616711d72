"""`assay audit` against a whole mesh: what was asked is exported, proven, held, erased."""

from __future__ import annotations

import csv
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyarrow import parquet

from tests.e2e.test_public_port import grpcurl
from tests.fixtures.mesh import RunningMesh, assay

ADMIN = "assay.audit.v1.AuditAdminService"


class Commands:
    """`assay` for one mesh."""

    def __init__(self, mesh: RunningMesh) -> None:
        self._data = str(mesh.data)

    def __call__(self, *arguments: str) -> Any:
        answer = assay(*arguments, "--data", self._data, "--json")
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return json.loads(answer.stdout)

    def refused(self, *arguments: str) -> Any:
        answer = assay(*arguments, "--data", self._data, "--json")
        assert answer.returncode == 1, answer.stdout + answer.stderr
        return json.loads(answer.stdout)["error"]

    def classified(self, text: str) -> str:
        """Classifies and returns the event's id once a signed log holds it; pytest ends a wait in vain."""
        audit_id: str = self("classify", text, "--model", "banking")["audit_id"]
        while assay("audit", "proof", audit_id, "--data", self._data).returncode:
            time.sleep(0.1)
        return audit_id


@pytest.fixture
def run(mesh: RunningMesh) -> Commands:
    return Commands(mesh)


def test_an_event_is_listed_exported_and_proven(run: Commands, mesh: RunningMesh, tmp_path: Path) -> None:
    audit_id = run.classified("I lost my card, please block it")
    [newest] = run("audit", "list", "--limit", "1", "--outcome", "answer", "--tenant", "default")
    assert newest["event_id"] == audit_id
    proof = run("audit", "proof", audit_id)
    assert proof["holds"]
    assert proof["index"] < proof["tree_size"]
    assert run("audit", "checkpoint")["public_key"]
    for name in ("events.parquet", "events.csv", "events.jsonl"):
        report = run("audit", "export", str(tmp_path / name), "--outcome", "answer")
        assert report["events"] >= 1
    assert audit_id in parquet.read_table(tmp_path / "events.parquet")["event_id"].to_pylist()
    with (tmp_path / "events.csv").open(newline="") as file:
        assert audit_id in [row["event_id"] for row in csv.DictReader(file)]
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert audit_id in [json.loads(line)["event_id"] for line in lines]
    exported = run("audit", "export", str(tmp_path / "audit.log"))
    verified = run("audit", "verify", str(tmp_path / "audit.log"), "--public-key", str(mesh.data / "audit.pub"))
    assert verified["ok"]
    assert exported["entries"] > proof["index"]
    assert run.refused("audit", "proof", "none")["reason"] == "EVENT_UNKNOWN"


def test_a_person_is_held_then_erased_and_the_log_still_verifies(run: Commands) -> None:
    audit_id = run.classified("my card was stolen")
    assert run("audit", "show", audit_id)["caller"] == "assay-cli"
    held = run("audit", "hold", "place", "--tenant", "default", "--note", "case 12", "--operator", "counsel")
    assert [one["hold_id"] for one in run("audit", "hold", "list")] == [held["hold_id"]]
    erase = ("audit", "erase", "--tenant", "default", "--caller", "assay-cli", "--yes", "--operator", "dpo")
    assert run.refused(*erase)["reason"] == "HOLD_IN_FORCE"
    assert run("audit", "hold", "release", held["hold_id"], "--operator", "counsel")["note"] == "case 12"
    assert run.refused("audit", "hold", "release", held["hold_id"])["reason"] == "HOLD_UNKNOWN"
    erased = run(*erase)
    assert int(erased["events"]) >= 1
    left = run("audit", "show", audit_id)
    assert left["caller"] == left["request_id"] == ""
    assert "input" not in left
    said = run("audit", "show", erased["event_id"])
    assert (said["caller"], said["action"]["person_erased"]["events"]) == ("dpo", erased["events"])
    run.classified("one more, so that what was said is signed")
    assert run("audit", "verify")["ok"]
    assert run("audit", "expire", "--operator", "ops")["events"] == "0"
    assert run.refused("audit", "archive")["reason"] == "ARCHIVE_MISSING"


def test_the_public_port_does_not_lead_to_the_admin_service(mesh: RunningMesh) -> None:
    assert ADMIN not in grpcurl(mesh.address, "list").split()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        grpcurl("-d", '{"operator": "mallory"}', mesh.address, f"{ADMIN}/ExpireEvents")
    assert "Unimplemented" in refused.value.stderr
    audit = mesh.read()["parts"]["audit"]["address"]
    assert "events" in grpcurl("-emit-defaults", "-d", '{"operator": "ops"}', audit, f"{ADMIN}/ExpireEvents")
    for path in ("events:expire", "holds", "admin/holds"):
        assert httpx.post(f"http://{mesh.address}/v1/audit/{path}", json={}).status_code == 404
