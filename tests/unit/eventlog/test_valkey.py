from pathlib import Path

import pytest

from services.kernel.eventlog import valkey


def test_the_server_is_durable_bounded_and_local(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    program, *words = valkey.command(Path("/x/valkey-server"), 4711, folder)
    settings = dict(zip(words[::2], words[1::2], strict=True))
    assert program == "/x/valkey-server"
    assert settings["--bind"] == "127.0.0.1"
    assert settings["--port"] == "4711"
    assert settings["--dir"] == str(folder)
    assert (settings["--appendonly"], settings["--appendfsync"]) == ("yes", "always")
    assert settings["--maxmemory-policy"] == "noeviction"
    assert int(settings["--maxmemory"]) > 0


def test_binary_comes_out_of_the_wheel() -> None:
    try:
        binary = valkey.find_binary()
    except valkey.ValkeyMissing as missing:
        pytest.skip(str(missing))
    assert binary.name == "valkey-server"
    assert binary.is_file()


def test_machine_without_a_binary_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey.platform, "machine", lambda: "vax")
    with pytest.raises(valkey.ValkeyMissing, match="vax"):
        valkey.find_binary()


def test_wheel_that_is_not_installed_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "find_spec", lambda name: None)
    with pytest.raises(valkey.ValkeyMissing):
        valkey.find_binary()
