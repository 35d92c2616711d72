"""`python -m services.classifier` as a process: how it starts, what it says, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from assay.classifier.v1 import classifier_pb2 as pb

from tests.fixtures.triton import TritonServer
from tests.integration.classifier.conftest import stub

ROOT = Path(__file__).resolve().parents[3]
SECRET = "greet 13800138000 greet"


def start(log: Path, **settings: str) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    environment |= {f"ASSAY_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "services.classifier"]
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)


@pytest.fixture
def process(shared_triton: TritonServer, tiny_models: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    running = start(
        tmp_path / "log",
        LISTEN="127.0.0.1:0",
        METRICS_LISTEN="127.0.0.1:0",
        TRITON_ADDRESSES=shared_triton.address,
        MODELS=str(tiny_models),
    )
    yield running
    running.kill()
    running.wait()


async def said(log: Path, message: str) -> dict[str, object]:
    """Returns the first log line with this message, as soon as it is there."""
    while True:
        for line in log.read_text().splitlines():  # noqa: ASYNC240  a few lines of a local file
            entry: dict[str, object] = json.loads(line)
            if entry["message"] == message:
                return entry
        await asyncio.sleep(0.05)


async def test_it_serves_counts_says_nothing_of_texts_and_drains(
    process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    serving = await said(tmp_path / "log", "serving")
    async with grpc.aio.insecure_channel(str(serving["address"])) as channel:
        items = [pb.ClassifyItem(text=SECRET), pb.ClassifyItem(text=SECRET * 20), pb.ClassifyItem(text="greet")]
        answer = await stub(channel).ClassifyBatch(pb.ClassifyBatchRequest(items=items))
        assert answer.results[2].classification.label == "greet"
        assert answer.results[1].HasField("error")
    metrics = await asyncio.to_thread(scrape, int(str(serving["metrics_port"])))
    assert 'ai_classifier_encoder_rows_total{encoder="encoder-1.0.0"} 2.0' in metrics
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait) == 0
    for place in ((tmp_path / "log").read_text(), metrics, str(answer.results[1])):
        assert "13800138000" not in place


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        body: bytes = response.read()
    return body.decode()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "ASSAY_TRITON_ADDRESSES is not set"),
        ({"TRITON_ADDRESSES": "127.0.0.1:1", "MODELS": "/nowhere"}, "must be a folder"),
        ({"TRITON_ADDRESSES": "127.0.0.1:1", "MODELS": "EMPTY"}, "no encoder bundle found"),
        ({"TRITON_ADDRESSES": "127.0.0.1:1", "MODELS": "EMPTY", "GROUP_ROWS": "0"}, "ASSAY_GROUP_ROWS"),
    ],
)
def test_wrong_settings_end_it_with_one_line(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    log = tmp_path / "log"
    process = start(log, **{key: str(empty) if value == "EMPTY" else value for key, value in settings.items()})
    assert process.wait() == 2
    (line,) = log.read_text().splitlines()
    assert words in line
