"""Fine-tuning of the shared encoder on all four tasks together, with one checkpoint an epoch.

Two threads each take half of a batch and meet once a step. Parallel matrix products would meet hundreds of times, and
on a machine that does other things at the same time each meeting waits for the slower one.

Every batch holds rows of one task and of similar length (padding is what a CPU pays for). A task's logits are a
linear head on its scaled unit-length embedding. The word embeddings stay frozen: most of the kept pieces never occur
in the training rows and would drift apart from those that do.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from modelkit.data import TaskData
from modelkit.encoder import Encoder

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Hyperparameters. `passes` is how often each task's rows are seen over the whole run, after `seen` passes of
    an earlier one; lengths are tokens.

    An epoch is an equal share of the run, not a pass over the rows: it ends with a checkpoint. The learning rate
    follows a one-cycle of `cycle` epochs and falls in a straight line to zero in the last `cool_down` epochs, which
    also go without dropout. `frozen_layers` says from which epoch on how many of the lowest layers, and the embeddings
    below them, stay as they are: that saves up to a third of the time. `workers` threads share each batch.
    """

    epochs: int = 6
    cycle: int = 8
    cool_down: int = 2
    passes: Mapping[str, float] | None = None
    seen: Mapping[str, float] | None = None
    max_tokens: int = 64
    batch_rows: int = 32
    batch_tokens: int = 1024
    encoder_rate: float = 1.5e-4
    head_rate: float = 3e-3
    warm_up: float = 0.1
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    clip: float = 1.0
    scale: float = 12.0
    dropout: float = 0.1
    frozen_layers: Mapping[int, int] | None = None
    workers: int = 2
    seed: int = 0

    def all_passes(self) -> dict[str, float]:
        """Passes over each task's rows."""
        return dict(self.passes or {"intent": 2.625, "banking": 3.0, "triage": 0.15, "sentiment": 0.6})

    def described(self) -> dict[str, Any]:
        """Every hyperparameter as JSON knows it, defaults filled in."""
        frozen = {str(epoch): layers for epoch, layers in self.all_frozen().items()}
        return {**asdict(self), "passes": self.all_passes(), "seen": self.seen or {}, "frozen_layers": frozen}

    def all_frozen(self) -> dict[int, int]:
        """From which epoch on how many layers are frozen."""
        return dict(self.frozen_layers or {2: 4, 4: 6})

    def frozen_at(self, epoch: int) -> int | None:
        """How many of the lowest layers are frozen in an epoch; None when the embeddings are trained, too."""
        reached = [layers for first, layers in self.all_frozen().items() if epoch >= first]
        return max(reached) if reached else None

    def rate(self, epochs: float) -> float:
        """Share of the peak learning rate after so many epochs."""
        turn = max(float(self.epochs - self.cool_down), self.warm_up * self.cycle)
        if epochs < turn:
            return one_cycle(epochs / self.cycle, self.warm_up)
        return one_cycle(turn / self.cycle, self.warm_up) * (self.epochs - epochs) / (self.epochs - turn)


# The run that shapes the encoder, then a shorter one with a smaller rate, mostly for the rows that are still unseen.
FIRST = Plan()
SECOND = Plan(
    epochs=2,
    cycle=2,
    cool_down=2,
    passes={"intent": 0.3, "banking": 0.3, "triage": 0.05, "sentiment": 0.6},
    seen=FIRST.all_passes(),
    encoder_rate=8e-5,
    head_rate=1e-3,
    dropout=0.0,
    frozen_layers={0: 6},
)


@dataclass(frozen=True)
class Batch:
    """Rows of one task: ids int64 [B, L] padded with the pad id, mask bool [B, L], target distribution [B, C]."""

    task: str
    ids: Tensor
    mask: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Encoded:
    """A task's training rows as token ids, with class indices; -1 is an outlier of no class."""

    task: str
    ids: Sequence[IntArray]
    targets: IntArray
    classes: int


def encode_rows(tokenizer: Tokenizer, texts: Sequence[str], limit: int, eos: int = 2) -> list[IntArray]:
    """Token ids of each text, cut to `limit` with the end token kept."""
    rows = [np.array(encoding.ids, dtype=np.int64) for encoding in tokenizer.encode_batch_fast(list(texts))]
    return [row if len(row) <= limit else np.append(row[: limit - 1], eos) for row in rows]


def encode_task(task: TaskData, tokenizer: Tokenizer, limit: int) -> Encoded:
    """The training rows of a task, its outliers included."""
    texts = task.train.texts + task.outliers_train.texts
    outliers = np.full(len(task.outliers_train), -1, dtype=np.int64)
    targets = np.concatenate([task.targets(task.train), outliers])
    return Encoded(task.spec.name, encode_rows(tokenizer, texts, limit), targets, len(task.labels))


def pad(rows: Sequence[IntArray], pad_id: int = 1) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Ids [B, L] and mask [B, L] of rows of different lengths."""
    ids = np.full((len(rows), max(len(row) for row in rows)), pad_id, dtype=np.int64)
    mask = np.zeros(ids.shape, dtype=bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return ids, mask


def _target_distribution(targets: IntArray, classes: int, smoothing: float) -> Tensor:
    """Smoothed one-hot rows; an outlier's target is the same probability for every class."""
    spread = np.full((len(targets), classes), smoothing / classes, dtype=np.float32)
    inside = np.flatnonzero(targets >= 0)
    spread[inside, targets[inside]] += 1.0 - smoothing
    spread[targets < 0] = 1.0 / classes
    return torch.from_numpy(spread)


def _portion(encoded: Encoded, plan: Plan, epoch: int) -> IntArray:
    """Row indices that an epoch sees, when the passes over the rows are spread evenly over all epochs."""
    rows, passes = len(encoded.ids), plan.all_passes()[encoded.task]
    before = (plan.seen or {}).get(encoded.task, 0.0)
    first, last = (round(rows * (before + passes * e / plan.epochs)) for e in (epoch, epoch + 1))
    picked: list[int] = []
    for position_pass in range(first // rows, math.ceil(last / rows)):
        order = np.random.default_rng([plan.seed, position_pass]).permutation(rows)
        lower, upper = max(first - position_pass * rows, 0), min(last - position_pass * rows, rows)
        picked.extend(order[lower:upper].tolist())
    return np.array(picked, dtype=np.int64)


def batches_of_epoch(tasks: Sequence[Encoded], plan: Plan, epoch: int) -> list[Batch]:
    """All batches of one epoch in random order; the same for the same plan and epoch."""
    generator = np.random.default_rng([plan.seed, 1000 + epoch])
    batches: list[Batch] = []
    for encoded in tasks:
        chosen = _portion(encoded, plan, epoch)
        # Ties in length are broken at random so that the same rows do not always meet.
        chosen = generator.permutation(chosen)
        lengths = np.array([len(encoded.ids[i]) for i in chosen], dtype=np.int64)
        chosen = chosen[np.argsort(lengths, kind="stable")]
        at = 0
        while at < len(chosen):
            size = plan.batch_rows
            while size > 1 and len(encoded.ids[chosen[min(at + size, len(chosen)) - 1]]) * size > plan.batch_tokens:
                size -= 1
            rows = chosen[at : at + size]
            ids, mask = pad([encoded.ids[i] for i in rows])
            targets = _target_distribution(encoded.targets[rows], encoded.classes, plan.label_smoothing)
            batches.append(Batch(encoded.task, torch.from_numpy(ids), torch.from_numpy(mask), targets))
            at += size
    return [batches[i] for i in generator.permutation(len(batches))]


def one_cycle(progress: float, warm_up: float) -> float:
    """Share of the peak learning rate at `progress` in 0..1: cosine up during `warm_up`, cosine down after."""
    if progress < warm_up:
        return 0.04 + 0.96 * 0.5 * (1.0 - math.cos(math.pi * progress / warm_up))
    return 0.5 * (1.0 + math.cos(math.pi * (progress - warm_up) / (1.0 - warm_up)))


def mean_state(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several states of the same module, name by name."""
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


class Trainer:
    """Holds the model, its heads and the optimiser; saves and resumes at the ends of epochs."""

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[Encoded],
        plan: Plan,
        folder: Path,
        heads: nn.ModuleDict | None = None,
    ) -> None:
        """`heads` are those of an earlier run that this one goes on from; without them they start anew."""
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.tasks = tasks
        self.folder = folder
        self.encoder = encoder
        self.encoder.requires_grad_(True)
        self.encoder.words.weight.requires_grad_(False)
        self.encoder.set_dropout(plan.dropout)
        self.workers = ThreadPoolExecutor(plan.workers)
        torch.set_num_threads(1)
        self.heads = heads or nn.ModuleDict({t.task: nn.Linear(encoder.shape.hidden, t.classes) for t in tasks})
        trained = [p for p in encoder.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": trained, "lr": plan.encoder_rate, "peak": plan.encoder_rate},
                {"params": list(self.heads.parameters()), "lr": plan.head_rate, "peak": plan.head_rate},
            ],
            weight_decay=plan.weight_decay,
            fused=True,
        )
        self.epoch = 0

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def resume(self) -> bool:
        """Continue after the last finished epoch of the same plan; False when there is none."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, weights_only=True)
        if state["plan"] != json.dumps(asdict(self.plan), sort_keys=True):
            return False
        self.encoder.load_state_dict(state["encoder"])
        self.heads.load_state_dict(state["heads"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch = state["epoch"]
        return True

    def save(self) -> None:
        """Write the checkpoint beside the old one, then replace it: never half a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(
            {
                "plan": json.dumps(asdict(self.plan), sort_keys=True),
                "epoch": self.epoch,
                "encoder": self.encoder.state_dict(),
                "heads": self.heads.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            },
            partial,
        )
        partial.replace(self.checkpoint)

    def run(self, progress: Progress) -> None:
        """Train the epochs that are left. One progress step is one batch."""
        while self.epoch < self.plan.epochs:
            batches = batches_of_epoch(self.tasks, self.plan, self.epoch)
            bar = progress.add_task(f"epoch {self.epoch + 1} of {self.plan.epochs}", total=len(batches))
            torch.manual_seed(self.plan.seed + 1 + self.epoch)
            self.encoder.train()
            self._prepare(self.epoch)
            for line in self._steps(batches):
                progress.update(bar, advance=1, description=line)
            self.epoch += 1
            self.save()

    def _steps(self, batches: Sequence[Batch]) -> Iterator[str]:
        started, tokens = time.monotonic(), 0
        losses: dict[str, float] = {}
        log = self.folder / "training.log"
        self.folder.mkdir(parents=True, exist_ok=True)
        for step, batch in enumerate(batches):
            share = self.plan.rate(self.epoch + step / len(batches))
            for group in self.optimiser.param_groups:
                group["lr"] = group["peak"] * share
            loss = self._accumulate_gradients(batch)
            nn.utils.clip_grad_norm_(self.encoder.parameters(), self.plan.clip)
            self.optimiser.step()
            tokens += int(batch.mask.sum())
            losses[batch.task] = 0.95 * losses.get(batch.task, loss) + 0.05 * loss
            rate = tokens / (time.monotonic() - started)
            summary = "  ".join(f"{task} {value:.2f}" for task, value in sorted(losses.items()))
            line = f"epoch {self.epoch + 1} of {self.plan.epochs}  {rate:4.0f} tokens/s  loss {summary}"
            if step % 50 == 0:
                with log.open("a", encoding="utf-8") as out:
                    out.write(f"{step}/{len(batches)}  {line}\n")
            yield line

    def _prepare(self, epoch: int) -> None:
        """Freeze what the plan freezes by now, and end dropout when the cool-down begins."""
        layers = self.plan.frozen_at(epoch)
        if layers is not None:
            for module in (self.encoder.positions, self.encoder.embedding_norm, *self.encoder.layers[:layers]):
                module.requires_grad_(False)
                for parameter in module.parameters():
                    parameter.grad = None
        if epoch >= self.plan.epochs - self.plan.cool_down:
            self.encoder.set_dropout(0.0)

    def _accumulate_gradients(self, batch: Batch) -> float:
        """Set every gradient to that of the batch's mean loss, which is returned."""
        head = self.heads[batch.task]
        parameters = [p for p in (*self.encoder.parameters(), *head.parameters()) if p.requires_grad]
        count = min(self.plan.workers, len(batch.ids))
        # Interleaved, so that each part has its share of long rows.
        parts = [slice(part, None, count) for part in range(count)]
        results = list(self.workers.map(lambda part: self._part(batch, part, parameters), parts))
        self.optimiser.zero_grad(set_to_none=True)
        for position, parameter in enumerate(parameters):
            parameter.grad = functools.reduce(torch.Tensor.add_, (gradients[position] for _, gradients in results))
        return sum(loss for loss, _ in results)

    def _part(self, batch: Batch, part: slice, parameters: Sequence[Tensor]) -> tuple[float, Sequence[Tensor]]:
        targets = batch.targets[part]
        embedding = self.encoder(batch.ids[part], batch.mask[part])
        logits = self.heads[batch.task](self.plan.scale * embedding)
        loss = functional.cross_entropy(logits, targets) * (len(targets) / len(batch.targets))
        return loss.item(), torch.autograd.grad(loss, parameters)
