"""`assay demo`, run as a person runs it."""

from __future__ import annotations

import json

from tests.fixtures.mesh import assay


def test_demo_tells_the_whole_path_and_ends_with_one_json_object() -> None:
    answer = assay("demo", "--json")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    report = json.loads(answer.stdout.splitlines()[-1])
    assert len(report["texts"]) >= 8
    assert {entry["model"] for entry in report["texts"]} == {"intent", "banking", "triage", "sentiment"}
    for entry in report["texts"]:
        assert entry["text"]
        assert entry["label"] == entry["grpc"]["label"] == entry["rest"]["label"]
        assert 0.0 < entry["confidence"] <= 1.0
        assert entry["model_version"].startswith("v1.")
        assert entry["audit"]["grpc"]["event_id"] == entry["audit_id"]
        assert entry["audit"]["rest"]["event_id"] == entry["rest"]["audit_id"]
        assert entry["audit"]["grpc"]["answer"]["label"] == entry["label"]
    doubtful = [entry for entry in report["texts"] if entry["doubtful"]]
    assert doubtful
    for entry in doubtful:
        assert entry["confidence"] < 0.7
        assert entry["review_task"]["task_id"] == entry["review_task_id"]
        assert "13812345678" not in entry["review_task"]["request"]["masked_text"]
    assert report["refused"]["grpc"]["reason"] == report["refused"]["rest"]["reason"] == "TEXT_TOO_LONG"
    for words in ("Starting the mesh", "audit log", "review tasks", "Done in"):
        assert words in answer.stderr
