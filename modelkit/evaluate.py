"""Test accuracy and calibration of the models that ship, beside a baseline trained in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelkit import baseline
from modelkit.data import TASKS, TaskData, load_task
from modelkit.inference import OnnxEncoder
from modelkit.metrics import accuracy, expected_calibration_error, share_below
from services.classifier.bundle import Catalogue, Head

Progress = Callable[[str, int], None]

ACCURACY_FLOORS = {"banking": 0.925, "intent": 0.95}
ACCURACY_GOALS = {"banking": 0.94, "intent": 0.97}
MARGIN_FLOOR = 0.01
# The triage rows are nearly separable by keywords: there is no point left to be better by.
MARGIN_FLOORS = {"triage": 0.0}


@dataclass(frozen=True)
class Result:
    """How one head does on its test rows. Shares, accuracies and errors are in 0..1."""

    model: str
    version: str
    rows: int
    accuracy: float
    baseline_accuracy: float
    calibration_error: float
    share_below_threshold: float
    out_of_scope_rows: int
    out_of_scope_share_below_threshold: float | None
    rows_over_token_limit: int
    seconds: float

    @property
    def margin(self) -> float:
        """How much better than the baseline, in accuracy."""
        return self.accuracy - self.baseline_accuracy

    def failures(self) -> list[str]:
        """What was promised and does not hold, in words."""
        faults = []
        floor = ACCURACY_FLOORS.get(self.model)
        if floor is not None and self.accuracy < floor:
            faults.append(f"{self.model}: accuracy {self.accuracy:.4f} is below {floor}")
        margin = MARGIN_FLOORS.get(self.model, MARGIN_FLOOR)
        # Half a row of tolerance: differences of shares are not exact in binary.
        if self.margin < margin - 0.5 / self.rows:
            faults.append(f"{self.model}: {self.margin:+.4f} over the baseline, expected at least {margin:+.2f}")
        return faults


def training_rows(task: TaskData) -> tuple[list[str], list[str]]:
    """All official training rows: what `load_task` cut off for validation is put back."""
    texts, labels = list(task.train.texts), list(task.train.labels)
    if task.spec.validation_file is None:
        texts += task.validation.texts
        labels += task.validation.labels
    return texts, labels


def evaluate_head(
    head: Head, encoder: OnnxEncoder, task: TaskData, progress: Progress, limit: int | None = None
) -> Result:
    """Embed the test rows with the shipped encoder, classify, and train the baseline on the training rows.

    `limit` takes an evenly spaced part of the test rows. Raises ValueError when the head's labels are not the data's.
    """
    if set(head.labels) != set(task.labels):
        raise ValueError(f"the labels of {head.name} v{head.version} are not those of {task.spec.folder}")
    started = time.perf_counter()
    test = task.test
    if limit is not None and limit < len(test):
        test = test.take(np.linspace(0, len(test) - 1, limit).astype(np.int64))
    index = {label: i for i, label in enumerate(head.labels)}
    targets = np.array([index[label] for label in test.labels], dtype=np.int64)
    name = head.name

    progress(f"{name}: encoder", 0)
    rows = encoder.token_ids(test.texts)
    probabilities = head.classify(encoder.embed(test.texts, lambda done: progress(f"{name}: encoder", done)))
    outliers = task.outliers_test.texts
    outside: float | None = None
    if outliers:
        embedded = encoder.embed(outliers, lambda done: progress(f"{name}: out of scope", done))
        outside = share_below(head.classify(embedded))

    progress(f"{name}: baseline", 0)
    texts, labels = training_rows(task)
    train_targets = np.array([index[label] for label in labels], dtype=np.int64)
    rival = baseline.accuracy(texts, train_targets, test.texts, targets)
    return Result(
        model=name,
        version=str(head.version),
        rows=len(test),
        accuracy=accuracy(probabilities, targets),
        baseline_accuracy=rival,
        calibration_error=expected_calibration_error(probabilities, targets),
        share_below_threshold=share_below(probabilities),
        out_of_scope_rows=len(outliers),
        out_of_scope_share_below_threshold=outside,
        rows_over_token_limit=sum(len(row) > head.max_tokens for row in rows),
        seconds=time.perf_counter() - started,
    )


def newest_heads(catalogue: Catalogue, names: Sequence[str] = ()) -> list[Head]:
    """The newest version of each head that has data, all of them or those named. Raises KeyError for another name."""
    newest = {head.name: head for head in catalogue.heads}
    known = [spec.name for spec in TASKS if spec.name in newest]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise KeyError(f"unknown model {unknown[0]!r}; there are {', '.join(known)}")
    return [newest[name] for name in known if not names or name in names]


def steps(tasks: Sequence[TaskData], limit: int | None = None) -> int:
    """How many rows `evaluate` will report as done."""
    return sum(min(len(t.test), limit or len(t.test)) + len(t.outliers_test) for t in tasks)


def tasks_of(heads: Sequence[Head], data: Path) -> list[TaskData]:
    """The data of each head, in the same order."""
    specs = {spec.name: spec for spec in TASKS}
    return [load_task(specs[head.name], data) for head in heads]


def evaluate(
    catalogue: Catalogue,
    heads: Sequence[Head],
    tasks: Sequence[TaskData],
    progress: Progress,
    *,
    threads: int = 0,
    limit: int | None = None,
) -> Iterator[Result]:
    """One result a head as soon as it is there. `progress` gets a description and the number of rows just done."""
    sessions: dict[Path, OnnxEncoder] = {}
    for head, task in zip(heads, tasks, strict=True):
        encoder = catalogue.encoder_of(head)
        if encoder.model_path not in sessions:
            sessions[encoder.model_path] = OnnxEncoder(
                encoder.model_path, encoder.tokenizer, encoder.max_tokens, threads
            )
        yield evaluate_head(head, sessions[encoder.model_path], task, progress, limit)
