"""From texts to labels: resolve, count, encode once for all, and let each text's own head answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from services.classifier.bundle import Catalogue, FloatArray, IntArray, Tokenizer
from services.classifier.encoding import EncodingQueue
from services.classifier.manifest import EncoderRef
from services.classifier.resolution import Model, Resolver
from services.kernel.errors import AssayError, Reason

MOST_ITEMS = 1024

# Tokenising takes about half a microsecond a character. Below this a hop to another thread costs as much as it frees.
_INLINE_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class Item:
    """A text and how to classify it; only the text is needed."""

    text: str
    model: str = ""
    model_version: str = ""
    industry: str = ""


@dataclass(frozen=True, slots=True)
class Classification:
    """The most probable label of a text, its calibrated probability, who said so, and the text's exact length."""

    label: str
    confidence: float
    model: Model
    tokens: int


@dataclass(slots=True)
class _Pending:
    """An item on its way: its place in the batch and the model that answers it."""

    place: int
    model: Model
    text: str


class Classifier:
    """Classifies batches that may mix models. One encoding queue for each encoder of the catalogue."""

    def __init__(
        self, catalogue: Catalogue, resolver: Resolver, queues: Mapping[EncoderRef, EncodingQueue], threads: Executor
    ) -> None:
        """`threads` runs tokenisation that would hold the event loop up."""
        self._resolver = resolver
        self._queues = queues
        self._threads = threads
        self._tokenizers = {EncoderRef(e.name, e.version): e.tokenizer for e in catalogue.encoders}

    async def classify(self, items: Sequence[Item], deadline: float) -> list[Classification | AssayError]:
        """Returns what became of each item, in the order of the items; a bad item fails alone.

        `deadline` is a time of the event loop's clock.

        Raises:
            AssayError: BATCH_EMPTY, BATCH_TOO_LARGE, OVERLOADED, DEADLINE_EXCEEDED; PART_UNAVAILABLE when no item could
                be worked on because Triton can't be reached.
        """
        if not items:
            raise AssayError(Reason.BATCH_EMPTY, field="items", limit=f"1 to {MOST_ITEMS}")
        if len(items) > MOST_ITEMS:
            raise AssayError(Reason.BATCH_TOO_LARGE, field="items", items=len(items), limit=MOST_ITEMS)
        results: list[Classification | AssayError | None] = [None] * len(items)
        by_encoder: dict[EncoderRef, list[_Pending]] = {}
        for place, item in enumerate(items):
            try:
                if not item.text or item.text.isspace():
                    raise AssayError(Reason.TEXT_BLANK, field="text")
                model = self._resolver.resolve(item.model, item.model_version, item.industry)
            except AssayError as error:
                results[place] = error
            else:
                by_encoder.setdefault(model.head.encoder, []).append(_Pending(place, model, item.text))
        if len(by_encoder) == 1:
            ((encoder, pending),) = by_encoder.items()
            await self._answer(encoder, pending, deadline, results)
        elif by_encoder:
            await asyncio.gather(
                *(self._answer(encoder, pending, deadline, results) for encoder, pending in by_encoder.items())
            )
        answers = [result for result in results if result is not None]
        assert len(answers) == len(items)
        _raise_if_unreached(answers)
        return answers

    async def _answer(
        self,
        encoder: EncoderRef,
        pending: list[_Pending],
        deadline: float,
        results: list[Classification | AssayError | None],
    ) -> None:
        ids = await self._tokenise(self._tokenizers[encoder], [item.text for item in pending])
        fitting: list[_Pending] = []
        rows: list[IntArray] = []
        for item, row in zip(pending, ids, strict=True):
            head = item.model.head
            if len(row) > head.max_tokens:
                results[item.place] = AssayError(
                    Reason.TEXT_TOO_LONG,
                    field="text",
                    tokens=len(row),
                    limit=head.max_tokens,
                    model=item.model.name,
                    model_version=item.model.version,
                )
            else:
                fitting.append(item)
                rows.append(row)
        if not rows:
            return
        encoded = await self._queues[encoder].encode(rows, deadline)
        by_model: dict[Model, list[int]] = {}
        for number, item in enumerate(fitting):
            error = encoded.errors.get(number)
            if error is not None:
                results[item.place] = error
            else:
                by_model.setdefault(item.model, []).append(number)
        for model, numbers in by_model.items():
            labels = _label(model, encoded.embeddings[numbers])
            for number, (label, confidence) in zip(numbers, labels, strict=True):
                results[fitting[number].place] = Classification(label, confidence, model, len(rows[number]))

    async def _tokenise(self, tokenizer: Tokenizer, texts: list[str]) -> list[IntArray]:
        if sum(map(len, texts)) <= _INLINE_CHARACTERS:
            return tokenizer.encode_batch(texts)
        return await asyncio.get_running_loop().run_in_executor(self._threads, tokenizer.encode_batch, texts)


def _label(model: Model, embeddings: FloatArray) -> list[tuple[str, float]]:
    probabilities = model.head.classify(embeddings)
    best = probabilities.argmax(axis=1)
    confidence = np.minimum(probabilities[np.arange(len(best)), best], 1.0)
    labels = model.head.labels
    return [(labels[b], c) for b, c in zip(best.tolist(), confidence.tolist(), strict=True)]


def _raise_if_unreached(answers: Sequence[Classification | AssayError]) -> None:
    """A batch of which nothing was worked on fails as a whole, so that its caller can try another classifier."""
    for answer in answers:
        if not isinstance(answer, AssayError) or answer.reason is not Reason.PART_UNAVAILABLE:
            return
    error = answers[0]
    assert isinstance(error, AssayError)
    raise AssayError(error.reason, **error.metadata)
