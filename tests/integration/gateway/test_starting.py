"""A gateway that can't begin says why in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.gateway.adapters.outbox_sqlite import SqliteOutbox
from services.gateway.ports import Entry
from services.kernel.eventlog.port import Event
from tests.integration.gateway.conftest import key_file


def start(folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "ASSAY_LISTEN": "127.0.0.1:0",
        "ASSAY_CLASSIFIER_ADDRESSES": "127.0.0.1:1",
        "ASSAY_EVENT_LOG": "redis://127.0.0.1:1/0",
        "ASSAY_DATA": str(folder / "gateway"),
        "ASSAY_PSEUDONYM_KEY_FILE": str(key_file(folder)),
        **changes,
    }
    return subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ASSAY_PSEUDONYM_KEY_FILE", "/nowhere/key", "the pseudonym key can't be read"),
        ("ASSAY_CONFIDENCE_THRESHOLD", "2", "it must be 0 to 1"),
        ("ASSAY_MAX_TEXT_BYTES", "many", "it must be a whole number"),
    ],
)
def test_a_wrong_setting(tmp_path: Path, variable: str, value: str, words: str) -> None:
    ended = start(tmp_path, **{variable: value})
    assert ended.returncode == 2
    assert ended.stderr.startswith("assay gateway: ")
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_folder_that_another_gateway_holds_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    folder.mkdir()
    outbox = SqliteOutbox(folder / "outbox.sqlite3")
    try:
        ended = start(tmp_path)
    finally:
        outbox.close()
    assert ended.returncode == 2
    assert "another process holds" in ended.stderr
    assert not (folder / "edge").exists()


def test_a_damaged_outbox_is_named_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    folder.mkdir()
    path = folder / "outbox.sqlite3"
    outbox = SqliteOutbox(path)
    outbox.append([Entry("audit", Event(str(number), b"x" * 300)) for number in range(1000)])
    outbox.close()
    damaged = path.read_bytes()[:100_000]
    path.write_bytes(damaged)
    ended = start(tmp_path)
    assert ended.returncode == 2
    assert "outbox.sqlite3 is damaged" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert path.read_bytes() == damaged


def test_a_wrong_tenants_file_names_the_tenant_and_the_fault(tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text("[tenants.acme]\npatterns = { contract = '(' }\n")
    ended = start(tmp_path, ASSAY_TENANTS_FILE=str(file))
    assert ended.returncode == 2
    assert ended.stderr == f"assay gateway: {file}: tenant 'acme': pattern 'contract': missing ): (\n"
