"""Reading labelled rows and cutting validation from them."""

from pathlib import Path

import pytest

from modelkit.data import TASKS, TaskSpec, load_task, read_rows, split_stratified


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")


def test_rows_keep_quotes_and_chinese_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "t.tsv", [('say "hi', "greet"), ("挂什么科", "内科")])
    rows = read_rows(tmp_path / "t.tsv")
    assert rows.texts == ('say "hi', "挂什么科")
    assert rows.labels == ("greet", "内科")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("a\tb\n", "the header"),
        ("", "the header"),
        ("text\tlabel\nonly\n", "line 2"),
        ("text\tlabel\nx\ty\nx\ty\tz\n", "line 3"),
        ("text\tlabel\nx\t\n", "line 2"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / "t.tsv").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=f"t.tsv.*{fault}"):
        read_rows(tmp_path / "t.tsv")


def test_split_takes_a_share_of_each_class_and_is_the_same_every_time() -> None:
    labels = ["a"] * 50 + ["b"] * 3
    train, held = split_stratified(labels, 0.1, seed=1)
    assert sorted([*train, *held]) == list(range(53))
    assert [labels[i] for i in held].count("a") == 5
    assert [labels[i] for i in held].count("b") == 1
    assert split_stratified(labels, 0.1, seed=1)[1].tolist() == held.tolist()


def test_a_task_without_a_validation_file_cuts_it_from_train(tmp_path: Path) -> None:
    write(tmp_path / "banking77" / "train.tsv", [(f"t{i}", "ab"[i % 2]) for i in range(40)])
    write(tmp_path / "banking77" / "test.tsv", [("x", "b"), ("y", "a")])
    task = load_task(next(spec for spec in TASKS if spec.name == "banking"), tmp_path)
    assert task.labels == ("a", "b")
    assert len(task.train) + len(task.validation) == 40
    assert not set(task.train.texts) & set(task.validation.texts)
    assert task.targets(task.test).tolist() == [1, 0]
    assert len(task.outliers_train) == 0


def test_out_of_scope_rows_belong_to_no_class(tmp_path: Path) -> None:
    spec: TaskSpec = next(spec for spec in TASKS if spec.name == "intent")
    for part in ("train", "val", "test"):
        write(tmp_path / "clinc150" / f"{part}.tsv", [("hello", "greeting"), ("bye", "goodbye")])
        write(tmp_path / "clinc150" / f"oos_{part}.tsv", [("how tall is it", "oos")])
    task = load_task(spec, tmp_path)
    assert task.labels == ("goodbye", "greeting")
    assert task.outliers_test.texts == ("how tall is it",)
    assert len(task.validation) == 2
