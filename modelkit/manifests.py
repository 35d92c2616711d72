"""What the manifests say: how good the models are, on what they were trained, and with which settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit import baseline, export, heads, pretrained
from modelkit.architecture import Architecture
from modelkit.data import TASKS, Rows, TaskData, sha256_of_training
from modelkit.evaluate import training_rows
from modelkit.inference import OnnxEncoder
from modelkit.metrics import accuracy, expected_calibration_error, share_below

FloatArray = npt.NDArray[np.float32]

VERSION = "1.0.0"
ENCODER = "encoder"
MAX_TOKENS = 512
AGREEMENT_ROWS = 100
MIXED_BATCH = 16


@dataclass(frozen=True)
class Embedded:
    """One task's rows as embeddings of the INT8 encoder, [n, H] each; `train` is that of `train_rows`."""

    train_rows: Rows
    train: FloatArray
    outliers_train: FloatArray
    validation: FloatArray
    test: FloatArray
    outliers_test: FloatArray


def encoder_metrics(
    tasks: Sequence[TaskData],
    embedded: Mapping[str, Embedded],
    full: Mapping[str, FloatArray],
    fitted: Mapping[str, heads.Fitted],
    session: OnnxEncoder,
) -> dict[str, Any]:
    """Agreement of INT8 with float32, and of a text embedded alone with itself in a mixed batch."""
    cosines = np.concatenate([(full[t.spec.name] * embedded[t.spec.name].validation).sum(1) for t in tasks])
    pairs: list[FloatArray] = []
    same: list[npt.NDArray[np.bool_]] = []
    accuracies = {}
    for task in tasks:
        name = task.spec.name
        head, targets = fitted[name].head, task.targets(task.validation)
        accuracies[name] = {
            "fp32": _rounded(accuracy(head.probabilities(full[name]), targets)),
            "int8": _rounded(accuracy(head.probabilities(embedded[name].validation), targets)),
        }
        chosen = np.linspace(0, len(task.validation) - 1, AGREEMENT_ROWS).astype(np.int64)
        rows = [row[:MAX_TOKENS] for row in session.token_ids(task.validation.take(chosen).texts)]
        alone = np.concatenate([session.run([row]) for row in rows])
        mixed = np.concatenate([session.run(rows[i : i + MIXED_BATCH]) for i in range(0, len(rows), MIXED_BATCH)])
        pairs.append((alone * mixed).sum(1))
        same.append(head.probabilities(alone).argmax(1) == head.probabilities(mixed).argmax(1))
    batch = np.concatenate(pairs)
    return {
        "agreement_rows": len(cosines),
        "int8_cosine_mean": _rounded(cosines.mean()),
        "int8_cosine_min": _rounded(cosines.min()),
        "batch_rows": len(batch),
        "batch_cosine_mean": _rounded(batch.mean()),
        "batch_cosine_min": _rounded(batch.min()),
        "batch_label_agreement": _rounded(np.concatenate(same).mean()),
        "validation_accuracy": accuracies,
    }


def _training_data(task: TaskData, data: Path) -> dict[str, Any]:
    return {
        "name": task.spec.folder,
        "sha256": sha256_of_training(task.spec, data),
        "rows": len(task.train) + len(task.outliers_train),
    }


def encoder_manifest(
    shape: Architecture,
    tasks: Sequence[TaskData],
    data: Path,
    hyperparameters: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """The encoder's manifest without the parts that writing adds."""
    parts = [_training_data(task, data) for task in tasks]
    attribution = [pretrained.ATTRIBUTION, *(spec.attribution for spec in TASKS)]
    return {
        "name": ENCODER,
        "version": VERSION,
        "kind": "encoder",
        "licence": pretrained.LICENCE,
        "attribution": "; ".join(attribution),
        "base": {"package": pretrained.PACKAGE, "version": pretrained.VERSION, "sha256": pretrained.SHA256},
        "architecture": {"type": "bert", "pooling": "mean", "precision": "int8", **asdict(shape)},
        "training_data": {
            "name": ", ".join(part["name"] for part in parts),
            "sha256": hashlib.sha256("".join(part["sha256"] for part in parts).encode()).hexdigest(),
            "rows": sum(part["rows"] for part in parts),
            "parts": parts,
        },
        "hyperparameters": hyperparameters,
        "metrics": metrics,
        "max_tokens": MAX_TOKENS,
        "dimension": shape.hidden,
        "inputs": list(export.INPUTS),
        "output": export.OUTPUT,
    }


def head_manifest(
    task: TaskData,
    data: Path,
    fitted: heads.Fitted,
    embedded: Embedded,
    hyperparameters: Mapping[str, Any],
) -> dict[str, Any]:
    """A head's manifest without the parts that writing adds; trains the baseline it is compared with."""
    spec = task.spec
    targets = task.targets(task.test)
    probabilities = fitted.head.probabilities(embedded.test, fitted.temperature)
    texts, labels = training_rows(task)
    index = {label: i for i, label in enumerate(task.labels)}
    wanted = np.array([index[label] for label in labels], dtype=np.int64)
    metrics: dict[str, Any] = {
        "test_rows": len(task.test),
        "test_accuracy": _rounded(accuracy(probabilities, targets)),
        "test_baseline_accuracy": _rounded(baseline.accuracy(texts, wanted, task.test.texts, targets)),
        "test_ece": _rounded(expected_calibration_error(probabilities, targets)),
        "test_share_below_0_7": _rounded(share_below(probabilities)),
        "validation_rows": len(task.validation),
        "validation_accuracy": _rounded(fitted.validation_accuracy),
        "validation_ece": _rounded(fitted.validation_ece),
    }
    if len(embedded.outliers_test):
        outside = fitted.head.probabilities(embedded.outliers_test, fitted.temperature)
        metrics["out_of_scope_rows"] = len(embedded.outliers_test)
        metrics["out_of_scope_share_below_0_7"] = _rounded(share_below(outside))
    return {
        "name": spec.name,
        "version": VERSION,
        "kind": "head",
        "licence": spec.licence,
        "attribution": spec.attribution,
        "training_data": _training_data(task, data),
        "hyperparameters": {**hyperparameters, "head": fitted.origin},
        "metrics": metrics,
        "encoder": {"name": ENCODER, "version": VERSION},
        "industry": spec.industry,
        "languages": list(spec.languages),
        "labels": list(task.labels),
        "max_tokens": MAX_TOKENS,
        "temperature": float(fitted.temperature),
        "task": spec.task,
    }


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 5)
