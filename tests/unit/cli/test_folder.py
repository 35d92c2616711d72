"""The data folder: lock, mesh.json."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cli.failure import CommandFailed
from cli.folder import DataFolder, running_mesh


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    assert not second.is_held()
    first.take()
    assert second.is_held()
    with pytest.raises(CommandFailed, match="already"):
        second.take()
    first.release()
    assert not second.is_held()
    second.take()
    second.release()


def test_a_new_folder_is_the_owners_alone(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.take()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    folder.release()


def test_the_refusal_says_where_the_other_mesh_is(tmp_path: Path) -> None:
    first = DataFolder(tmp_path)
    first.take()
    first.write_mesh({"public": "127.0.0.1:4711", "pid": 42})
    with pytest.raises(CommandFailed, match=r"already at 127\.0\.0\.1:4711 \(process 42\); .*--data"):
        DataFolder(tmp_path).take()
    first.release()


def test_mesh_json_is_replaced_whole(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert folder.read_mesh() is None
    folder.write_mesh({"public": "a"})
    folder.write_mesh({"public": "b"})
    assert folder.read_mesh() == {"public": "b"}
    assert [path.name for path in tmp_path.iterdir()] == ["mesh.json"]
    folder.mesh_file.write_text("{")
    assert folder.read_mesh() is None


def test_a_mesh_that_ended_is_not_running(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"no mesh runs in .*assay up"):
        running_mesh(tmp_path)
    folder = DataFolder(tmp_path)
    folder.take()
    folder.write_mesh({"public": "127.0.0.1:1"})
    assert running_mesh(tmp_path) == json.loads((tmp_path / "mesh.json").read_text())
    folder.release()
    with pytest.raises(CommandFailed, match="no mesh runs"):
        running_mesh(tmp_path)
