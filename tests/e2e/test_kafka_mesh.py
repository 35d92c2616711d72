"""A mesh whose events go through Apache Kafka."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from cli.kafka import KafkaMissing, fetch, find_java
from tests.fixtures.mesh import assay, started


@pytest.fixture(autouse=True)
def installed() -> None:
    try:
        find_java()
        fetch()
    except KafkaMissing as missing:
        pytest.skip(str(missing))


def test_events_reach_the_audit_log_over_a_killed_kafka(tmp_path: Path) -> None:
    with started(tmp_path / "mesh", "--kafka") as mesh:
        parts = mesh.read()["parts"]
        assert "kafka" in parts
        assert "valkey" not in parts
        data = ("--data", str(mesh.data), "--json")

        def classify() -> str:
            done = assay("classify", "I lost my card and need a new one", "--model", "banking", *data)
            assert done.returncode == 0, done.stdout + done.stderr
            return str(json.loads(done.stdout)["audit_id"])

        ids = {classify()}
        os.kill(parts["kafka"]["pid"], signal.SIGKILL)
        ids |= {classify(), classify()}  # nobody who asks notices
        while True:  # the test's own limit ends a wait in vain
            found = {event["event_id"] for event in json.loads(assay("audit", "list", *data).stdout)}
            if ids <= found:
                break
            time.sleep(0.2)
        mesh.wait_ready()
        topics = {each["topic"]: each for each in json.loads(assay("topics", "list", *data).stdout)["topics"]}
        assert all(each["there"] and not each["differences"] for each in topics.values())
