"""What a mesh consists of."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import kafka, parts
from cli.failure import CommandFailed
from cli.folder import DataFolder
from cli.parts import NEEDS, Plan, needs, recipes
from cli.ports import free_ports, is_free


def plan(tmp_path: Path, **changes: object) -> Plan:
    (tmp_path / "models").mkdir(exist_ok=True)
    values = {"port": 18080, "models": tmp_path / "models", "host": "auto", "settings": {}, **changes}
    return Plan(DataFolder(tmp_path / "data"), **values)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def triton_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "TRITON_ENVIRONMENT", tmp_path)


def test_every_part_comes_after_what_it_needs(tmp_path: Path) -> None:
    made = recipes(plan(tmp_path))
    assert [recipe.name for recipe in made] == list(NEEDS)
    names: list[str] = []
    for recipe in made:
        assert set(recipe.needs) <= set(names)
        names.append(recipe.name)


def test_ports_differ_and_only_the_public_one_is_given(tmp_path: Path) -> None:
    made = recipes(plan(tmp_path))
    addresses = [recipe.address for recipe in made] + [recipe.metrics for recipe in made if recipe.metrics]
    assert len(set(addresses)) == len(addresses)
    assert [recipe.name for recipe in made if recipe.address == "127.0.0.1:18080"] == ["gateway"]


def test_the_parts_are_told_of_one_another(tmp_path: Path) -> None:
    made = {recipe.name: recipe for recipe in recipes(plan(tmp_path, settings={"gateway": {"MAX_BATCH_TEXTS": "8"}}))}
    gateway = made["gateway"].prepare().environment
    assert gateway["ASSAY_CLASSIFIER_ADDRESSES"] == made["classifier"].address
    assert gateway["ASSAY_AUDIT_ADDRESS"] == made["audit"].address
    assert gateway["ASSAY_REVIEW_ADDRESS"] == made["review"].address
    assert gateway["ASSAY_EVENT_LOG"] == f"redis://{made['valkey'].address}/0"
    assert gateway["ASSAY_MAX_BATCH_TEXTS"] == "8"
    assert made["classifier"].prepare().environment["ASSAY_TRITON_ADDRESSES"] == made["triton"].address
    assert made["audit"].prepare().environment["ASSAY_DATA"] != made["review"].prepare().environment["ASSAY_DATA"]


def test_kafka_takes_the_place_of_valkey(tmp_path: Path) -> None:
    made = recipes(plan(tmp_path, kafka=True))
    assert [recipe.name for recipe in made] == list(needs(kafka=True))
    assert "valkey" not in {name for recipe in made for name in (recipe.name, *recipe.needs)}
    by_name = {recipe.name: recipe for recipe in made}
    for name in ("gateway", "audit", "review"):
        assert "kafka" in by_name[name].needs
        environment = by_name[name].prepare().environment
        assert environment["ASSAY_EVENT_LOG"] == f"kafka://{by_name['kafka'].address}"


def test_kafka_that_can_not_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise kafka.KafkaMissing("install Java")

    monkeypatch.setattr(kafka, "find_java", missing)
    with pytest.raises(CommandFailed, match="install Java"):
        recipes(plan(tmp_path, kafka=True))[0].prepare()


def test_a_missing_triton_environment_says_make_setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "TRITON_ENVIRONMENT", tmp_path / "none")
    with pytest.raises(CommandFailed, match="make setup"):
        recipes(plan(tmp_path))


def test_a_missing_models_folder_says_models(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="--models"):
        recipes(plan(tmp_path, models=tmp_path / "none"))


def test_free_ports_are_free_and_different() -> None:
    ports = free_ports(30)
    assert len(set(ports)) == 30
    assert all(is_free(port) for port in ports)
