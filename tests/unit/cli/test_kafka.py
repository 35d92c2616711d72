from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cli import kafka
from cli.kafka import KafkaMissing


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def bin_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds every program there is, besides the shell's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files are pinned, and none is fetched yet."""
    hashes = tmp_path / "hashes"
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a.jar", "b.jar")}
    hashes.write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    monkeypatch.setattr(kafka, "HASHES", hashes)
    monkeypatch.setattr(kafka, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def test_without_java_it_says_what_to_install(bin_: Path) -> None:
    with pytest.raises(KafkaMissing, match="Java 17 or newer; install it"):
        kafka.find_java()


@pytest.mark.parametrize("version", ["1.8.0_302", "11.0.2", "nonsense"])
def test_an_old_java_is_refused(bin_: Path, version: str) -> None:
    program(bin_, "java", f"echo 'openjdk version \"{version}\"' >&2")
    with pytest.raises(KafkaMissing, match="Java 17"):
        kafka.find_java()


def test_java_home_comes_before_the_path(bin_: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bin_, "java", "echo 'openjdk version \"11.0.2\"' >&2")
    program(tmp_path / "home", "x", "")
    program(tmp_path / "home" / "bin", "java", "echo 'openjdk version \"21.0.1\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert kafka.find_java() == str(tmp_path / "home" / "bin" / "java")


def test_without_maven_it_says_what_to_install(bin_: Path, cache: Path) -> None:
    with pytest.raises(KafkaMissing, match="fetched by Maven; install it"):
        kafka.fetch()


FETCHES = 'for word; do case $word in -DoutputDirectory=*) folder=${word#*=};; esac; done; /bin/mkdir -p "$folder"\n'


def test_what_is_fetched_is_checked_and_kept(bin_: Path, cache: Path, tmp_path: Path) -> None:
    program(bin_, "mvn", FETCHES + 'for name in a.jar b.jar; do printf %s $name > "$folder/$name"; done')
    folder = kafka.fetch()
    assert sorted(file.name for file in folder.iterdir()) == ["a.jar", "b.jar"]
    (bin_ / "mvn").unlink()
    assert kafka.fetch() == folder, "without Maven and the network"
    (folder / "b.jar").write_text("something else")
    with pytest.raises(KafkaMissing, match=r"b\.jar is not the file that .* pins"):
        kafka.fetch()


@pytest.mark.parametrize("files", ["a.jar", "a.jar b.jar c.jar", "b.jar c.jar"])
def test_a_file_more_or_less_is_refused_and_not_kept(bin_: Path, cache: Path, files: str) -> None:
    program(bin_, "mvn", FETCHES + f'for name in {files}; do printf %s $name > "$folder/$name"; done')
    with pytest.raises(KafkaMissing, match="is not the file"):
        kafka.fetch()
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["new"], "looked at again, never started"


def test_maven_that_fails_is_quoted(bin_: Path, cache: Path) -> None:
    program(bin_, "mvn", "echo '[ERROR] no network'; exit 1")
    with pytest.raises(KafkaMissing, match="no network"):
        kafka.fetch()


def test_the_broker_listens_on_this_machine_alone_and_syncs(tmp_path: Path, bin_: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").touch()
    words = kafka.command("java", tmp_path / "jars", 9092, 9093, tmp_path)
    assert words[-2:] == ["kafka.Kafka", str(tmp_path / "server.properties")]
    settings = dict(line.split("=", 1) for line in (tmp_path / "server.properties").read_text().splitlines())
    listeners = [each.split("://")[1] for each in settings["listeners"].split(",")]
    assert listeners == ["127.0.0.1:9092", "127.0.0.1:9093"]
    assert settings["log.flush.interval.messages"] == "1"
    assert settings["auto.create.topics.enable"] == "false"


def test_a_folder_that_can_not_be_prepared_is_said(tmp_path: Path, bin_: Path) -> None:
    program(bin_, "java", "echo 'Exception: no room' >&2; exit 1")
    with pytest.raises(KafkaMissing, match="no room"):
        kafka.command(str(bin_ / "java"), tmp_path / "jars", 9092, 9093, tmp_path)
