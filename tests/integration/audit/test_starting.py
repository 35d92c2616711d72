"""What the audit service says, in one line, when it can't begin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.audit import key_settings


def start(folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    settings = {"event_log": "redis://127.0.0.1:1/0", "data": str(folder), "listen": "127.0.0.1:0"}
    settings |= key_settings(folder / "keys")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ASSAY_")}
    environment |= {f"ASSAY_{key.upper()}": value for key, value in (settings | changes).items() if value}
    return subprocess.run(
        [sys.executable, "-m", "services.audit"], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"key_file": ""}, "ASSAY_KEY_FILE is not set"),
        ({"key_file": "/nowhere/kek"}, "/nowhere/kek can't be read: No such file"),
        ({"signing_key_file": "/nowhere/key"}, "/nowhere/key can't be read"),
        ({"checkpoint_seconds": "0"}, "ASSAY_CHECKPOINT_SECONDS is 0; it must be 0.05 to 3600"),
        ({"store": "mysql://host/db"}, "ASSAY_STORE is no PostgreSQL URL; it must be postgresql://"),
        ({"store": "postgresql://u:hunter2@host/db"}, "ASSAY_STORE holds a password"),
        ({"store": "postgresql://host/db?nonsense=1"}, "ASSAY_STORE can't be read"),
    ],
)
def test_wrong_settings_are_told_in_one_line(tmp_path: Path, changes: dict[str, str], fault: str) -> None:
    ended = start(tmp_path, **changes)
    assert ended.returncode == 2
    assert fault in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert "hunter2" not in ended.stderr


def test_keys_that_others_may_read_are_refused(tmp_path: Path) -> None:
    for name in ("key_file", "signing_key_file"):
        files = key_settings(tmp_path / name)
        Path(files[name]).chmod(0o644)
        ended = start(tmp_path / "data", **files)
        assert ended.returncode == 2
        assert f"chmod 600 {files[name]}" in ended.stderr
