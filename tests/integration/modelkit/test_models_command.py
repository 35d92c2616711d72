"""`assay models` on the shipped bundles and a small data folder."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.failure import CommandFailed
from cli.models import models
from services.classifier.bundle import load_catalogue

MODELS = Path(__file__).resolve().parents[3] / "models"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose text is their own label: enough for the baseline to learn and the head to be asked."""
    folder = tmp_path_factory.mktemp("rows") / "banking77"
    folder.mkdir()
    labels = next(head.labels for head in load_catalogue(MODELS).heads if head.name == "banking")
    rows = "".join(f"{label.replace('_', ' ')}\t{label}\n" * 2 for label in labels)
    for part in ("train", "test"):
        (folder / f"{part}.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    return folder.parent


def run(*arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(models, arguments, standalone_mode=False)
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    # Without standalone mode click returns the code of an Exit instead of leaving.
    return outcome.return_value or 0, outcome.stdout


def test_list_names_every_head_and_the_encoder() -> None:
    code, output = run("list", "--json")
    listed = json.loads(output)
    assert code == 0
    assert [head["name"] for head in listed["heads"]] == ["banking", "intent", "sentiment", "triage"]
    assert listed["encoders"][0]["dimension"] == 384
    assert "banking" in run("list")[1]


def test_evaluate_measures_head_and_baseline_on_the_same_rows(data: Path) -> None:
    arguments = ("evaluate", "--data", str(data), "--model", "banking", "--limit", "12", "--threads", "1", "--json")
    code, output = run(*arguments)
    (result,) = json.loads(output.splitlines()[-1])["models"]
    assert code == 0
    assert (result["model"], result["rows"]) == ("banking", 12)
    assert result["baseline_accuracy"] == 1.0
    assert 0.2 < result["accuracy"] <= 1.0
    assert result["margin"] == pytest.approx(result["accuracy"] - 1.0)


def test_check_fails_when_a_promise_does_not_hold(data: Path) -> None:
    """Nothing can be a point better than a baseline without a mistake."""
    arguments = ("evaluate", "--data", str(data), "--model", "banking", "--limit", "12", "--threads", "1", "--check")
    code, output = run(*arguments)
    assert code == 1
    assert "over the baseline" in output


def test_an_unknown_model_is_answered_with_those_there_are(data: Path) -> None:
    with pytest.raises(CommandFailed, match="unknown model 'nope'; there are intent, banking, triage, sentiment"):
        run("evaluate", "--data", str(data), "--model", "nope")


def test_an_altered_bundle_is_named(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "triage", tmp_path / "triage")
    (tmp_path / "triage" / "v1.0.0" / "CARD.md").write_text("other")
    with pytest.raises(CommandFailed, match=r"CARD\.md"):
        run("list", "--models", str(tmp_path))


def test_build_says_how_to_get_pytorch_where_it_is_missing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CommandFailed, match=r"requirements/modelkit\.txt"):
        run("build", "--data", str(data))
