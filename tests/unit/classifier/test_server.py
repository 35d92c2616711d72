"""What it takes to start Triton, as data."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from services.classifier.manifest import BundleError
from services.classifier.triton import server
from tests.fixtures.bundles import write_bundles, write_encoder


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment that looks as if the wheel were installed."""
    packages = tmp_path / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    wheel = packages / "pytriton" / "tritonserver"
    stub = f"python_backend_stubs/{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    for name in ("bin/tritonserver", "backends/python/libtriton_python.so", stub):
        (wheel / name).parent.mkdir(parents=True, exist_ok=True)
        (wheel / name).touch()
    return tmp_path / "venv"


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a shared Python library, whatever this machine's Python has."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    (folder / f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0").touch()
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: str(folder) if name == "LIBDIR" else None)
    return folder


def prepare(environment: Path, folder: Path) -> server.Command:
    return server.command(
        environment=environment,
        models=folder / "models",
        data=folder / "data",
        grpc_port=8101,
        metrics_port=8102,
        instances=3,
    )


def test_every_encoder_is_loaded_by_name_and_version(environment: Path, libraries: Path, tmp_path: Path) -> None:
    write_encoder(write_bundles(tmp_path / "models"), "1.2.0")
    command = prepare(environment, tmp_path)
    assert "--load-model=encoder-1.0.0" in command.argv
    assert "--load-model=encoder-1.2.0" in command.argv
    model = tmp_path / "data" / "repository" / "encoder-1.2.0"
    assert (model / "1" / "model.onnx").resolve() == (tmp_path / "models" / "encoder" / "v1.2.0" / "model.onnx")
    assert (model / "1" / "model.py").resolve() == Path(server.__file__).with_name("model.py")
    config = (model / "config.pbtxt").read_text()
    assert "count: 3" in config
    assert "dims: [-1, 32]" in config


def test_it_listens_on_loopback_alone(environment: Path, libraries: Path, tmp_path: Path) -> None:
    write_bundles(tmp_path / "models")
    argv = prepare(environment, tmp_path).argv
    assert {"--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1", "--allow-http=false"} <= set(argv)


def test_the_environment_is_whole_and_has_the_libraries(environment: Path, libraries: Path, tmp_path: Path) -> None:
    write_bundles(tmp_path / "models")
    env = prepare(environment, tmp_path).env
    assert env["LD_LIBRARY_PATH"].split(":")[0] == str(libraries)
    assert env["PATH"].split(":")[0] == str(environment / "bin")


def test_it_can_be_prepared_again_over_what_a_killed_server_left(
    environment: Path, libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundles(tmp_path / "models")
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(server, "SHARED_MEMORY", memory)
    command = prepare(environment, tmp_path)
    (prefix,) = [arg.rpartition("=")[2] for arg in command.argv if "shm-region-prefix-name" in arg]
    (memory / f"{prefix}-left").touch()
    (memory / "somebody-else's").touch()
    assert prepare(environment, tmp_path).argv == command.argv
    assert [path.name for path in memory.iterdir()] == ["somebody-else's"]


def test_a_missing_wheel_is_said(libraries: Path, tmp_path: Path) -> None:
    write_bundles(tmp_path / "models")
    with pytest.raises(server.TritonUnavailable, match="make setup"):
        prepare(tmp_path / "venv", tmp_path)


def test_a_python_without_a_shared_library_is_said(
    environment: Path, libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundles(tmp_path / "models")
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: None)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(server, "_SYSTEM_FOLDERS", ())
    with pytest.raises(server.TritonUnavailable, match=r"libpython3\.11\.so\.1\.0"):
        prepare(environment, tmp_path)


def test_an_altered_model_is_never_served(environment: Path, libraries: Path, tmp_path: Path) -> None:
    write_bundles(tmp_path / "models")
    (tmp_path / "models" / "encoder" / "v1.0.0" / "model.onnx").write_bytes(b"other")
    with pytest.raises(BundleError):
        prepare(environment, tmp_path)
