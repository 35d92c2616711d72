"""The public port as strangers see it: grpcurl, curl, and the commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.mesh import RunningMesh, assay

GRPCURL = str(Path(sys.executable).with_name("grpcurl"))
TEXT = "I lost my card yesterday, please block it"


def grpcurl(*arguments: str) -> str:
    return subprocess.run([GRPCURL, "-plaintext", *arguments], capture_output=True, text=True, check=True).stdout


def test_reflection_names_the_services_health_and_itself(mesh: RunningMesh) -> None:
    names = grpcurl(mesh.address, "list").split()
    assert {"assay.ai.v1.AIService", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= set(names)
    assert {"assay.audit.v1.AuditService", "assay.review.v1.ReviewService"} <= set(names)
    assert "ClassifyText" in grpcurl(mesh.address, "describe", "assay.ai.v1.AIService")
    assert json.loads(grpcurl(mesh.address, "grpc.health.v1.Health/Check"))["status"] == "SERVING"


def test_grpcurl_curl_and_assay_classify_answer_the_same(mesh: RunningMesh) -> None:
    request = json.dumps({"text": TEXT, "model_version": "v1", "model": "banking"})
    over_grpc = json.loads(grpcurl("-d", request, mesh.address, "assay.ai.v1.AIService/ClassifyText"))
    url = f"http://{mesh.address}/v1/ai-services/text-classification"
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    answer = subprocess.run([curl, "-sS", "--fail", "-d", request, url], capture_output=True, text=True, check=True)
    over_rest = json.loads(answer.stdout)
    for way in ([], ["--rest"]):
        answer = assay("classify", TEXT, "--model", "banking", "--data", str(mesh.data), "--json", *way)
        assert json.loads(answer.stdout)["label"] == over_rest["label"]
    assert over_grpc["label"] == over_rest["label"]
    # Its releases differ in how they print names.
    version = over_grpc.get("model_version") or over_grpc["modelVersion"]
    assert version == over_rest["model_version"]
    assert version.startswith("v1.")


def test_an_error_reads_the_same_on_both_ways(mesh: RunningMesh) -> None:
    errors = []
    for way in ([], ["--rest"]):
        answer = assay("classify", "x", "--model", "nonsense", "--data", str(mesh.data), "--json", *way)
        assert answer.returncode == 1
        errors.append(json.loads(answer.stdout)["error"])
    assert errors[0]["reason"] == errors[1]["reason"] == "MODEL_UNKNOWN"
    assert errors[0]["text"] == errors[1]["text"]
    assert "banking" in errors[0]["text"]


def test_status_asks_every_part(mesh: RunningMesh) -> None:
    answer = assay("status", "--data", str(mesh.data), "--json")
    assert answer.returncode == 0, answer.stdout
    report = json.loads(answer.stdout)
    assert [part["name"] for part in report["parts"]] == list(mesh.read()["parts"])
    assert all(part["up"] for part in report["parts"])
    dependencies = {part["name"]: part["dependencies"] for part in report["parts"]}
    assert dependencies["gateway"]["classifier"] == "SERVING"
    assert dependencies["classifier"]["triton"] == "SERVING"
    assert report["host"] in ("envoy", "aio")
    assert report["outbox_depth"] is not None
    assert {model["name"] for model in report["models"]} == {"intent", "banking", "triage", "sentiment"}
    assert "serving" in assay("status", "--data", str(mesh.data)).stdout


def test_audit_and_review_commands_find_the_answer(mesh: RunningMesh) -> None:
    text = "that thing from last week"
    answer = json.loads(assay("classify", text, "--model", "banking", "--data", str(mesh.data), "--json").stdout)
    shown = assay("audit", "show", answer["audit_id"], "--data", str(mesh.data), "--json")
    while shown.returncode:  # it arrives within moments; the test's own limit ends a wait in vain
        shown = assay("audit", "show", answer["audit_id"], "--data", str(mesh.data), "--json")
    assert json.loads(shown.stdout)["answer"]["label"] == answer["label"]
    listed = json.loads(assay("audit", "list", "--limit", "1000", "--data", str(mesh.data), "--json").stdout)
    assert answer["audit_id"] in {event["event_id"] for event in listed}
    assert answer["review_task_id"]
    tasks = json.loads(assay("review", "list", "--data", str(mesh.data), "--json").stdout)
    assert answer["review_task_id"] in {task["task_id"] for task in tasks}


def test_a_second_mesh_in_the_same_folder_or_at_the_same_port_is_refused(mesh: RunningMesh, tmp_path: Path) -> None:
    answer = assay("up", "--port", "0", "--data", str(mesh.data))
    assert answer.returncode == 1
    assert f"already at {mesh.address}" in answer.stderr
    port = mesh.address.rpartition(":")[2]
    answer = assay("up", "--port", port, "--data", str(tmp_path))
    assert answer.returncode == 1
    assert f"port {port}" in answer.stderr
    assert "--port" in answer.stderr
