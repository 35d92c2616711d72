"""The queue in front of one encoder: texts of all calls wait together and leave in groups of like length.

Whenever the encoder can take a call, the text that has waited longest leaves, with those of its neighbours in length
that go well with it (batches.py). Nothing waits while the encoder is idle. Texts whose deadline has passed or whose
call is gone never leave. A group that fails as a whole is tried text by text, so one bad text fails alone.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.classifier.batches import GroupLimits, group_around
from services.classifier.bundle import FloatArray, IntArray
from services.classifier.ports import Encoder, EncoderUnavailable, EncodingFailed
from services.kernel.errors import AssayError, Reason

_log = logging.getLogger(__name__)


class _Job:
    """The rows of one call of `encode`."""

    __slots__ = ("deadline", "embeddings", "errors", "future", "left")

    def __init__(self, count: int, dimension: int, deadline: float, future: asyncio.Future[None]) -> None:
        self.embeddings = np.zeros((count, dimension), np.float32)
        self.errors: dict[int, AssayError] = {}
        self.deadline = deadline
        self.future = future
        self.left = count

    def settle(self, row: int, result: FloatArray | AssayError) -> None:
        if isinstance(result, AssayError):
            self.errors[row] = result
        else:
            self.embeddings[row] = result
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result(None)


class _Waiting:
    """One row in the queue; sorts by length, then arrival."""

    __slots__ = ("gone", "ids", "job", "key", "row")

    def __init__(self, key: tuple[int, int], ids: IntArray, job: _Job, row: int) -> None:
        self.key = key
        self.ids = ids
        self.job = job
        self.row = row
        self.gone = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of the rows of one call: `embeddings` [n, D], zero where `errors` holds the row."""

    embeddings: FloatArray
    errors: dict[int, AssayError]


class EncodingQueue:
    """Rows of token ids in, embeddings out, for one encoder."""

    def __init__(
        self,
        encoder: Encoder,
        dimension: int,
        limits: GroupLimits,
        longest: int = 8192,
        observe: Callable[[int, int], None] | None = None,
    ) -> None:
        """
        Args:
            dimension: numbers of an embedding.
            longest: rows that may wait; more are refused.
            observe: hears, of each call to the encoder, its rows and its padded size in tokens.
        """
        self._encoder = encoder
        self._dimension = dimension
        self._limits = limits
        self._longest = longest
        self._observe = observe
        self._sorted: list[_Waiting] = []
        self._arrivals: deque[_Waiting] = deque()
        self._number = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Rows that wait for a call."""
        return len(self._sorted)

    async def encode(self, rows: Sequence[IntArray], deadline: float) -> Encoded:
        """Encodes 1 or more rows. Cancelling it takes the rows that still wait out of the queue.

        Raises:
            AssayError: OVERLOADED, or DEADLINE_EXCEEDED when the deadline passed before all rows were done.
        """
        if len(self._sorted) + len(rows) > self._longest:
            raise AssayError(Reason.OVERLOADED, part="classifier", limit=self._longest)
        loop = asyncio.get_running_loop()
        job = _Job(len(rows), self._dimension, deadline, loop.create_future())
        for row, ids in enumerate(rows):
            self._number += 1
            entry = _Waiting((len(ids), self._number), ids, job, row)
            insort(self._sorted, entry, key=_key)
            self._arrivals.append(entry)
        self._dispatch()
        timer = loop.call_at(deadline, _expire, job)
        try:
            await job.future
        except asyncio.CancelledError:
            self._forget(job)
            raise
        finally:
            timer.cancel()
        if job.left:  # the timer ended the wait
            self._forget(job)
            raise AssayError(Reason.DEADLINE_EXCEEDED)
        return Encoded(job.embeddings, job.errors)

    async def close(self) -> None:
        """Cancels the calls in flight and fails what waits."""
        self._closed = True
        waiting, self._sorted = self._sorted, []
        _settle_all(waiting, AssayError(Reason.PART_UNAVAILABLE, part="classifier"))
        calls = list(self._calls)
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _forget(self, job: _Job) -> None:
        kept: list[_Waiting] = []
        for entry in self._sorted:
            if entry.job is job:
                entry.gone = True
            else:
                kept.append(entry)
        self._sorted = kept

    def _dispatch(self) -> None:
        # With no server ready a call goes out all the same, to find that out and say so at once.
        slots = max(self._encoder.capacity, 1)
        while self._sorted and len(self._calls) < slots:
            group = self._take(-(-len(self._sorted) // (slots - len(self._calls))))
            if not group:
                continue
            task = asyncio.get_running_loop().create_task(self._run(group))
            self._calls.add(task)

    async def _run(self, group: list[_Waiting]) -> None:
        try:
            await self._call(group)
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._calls.discard(task)
            if self._sorted and not self._closed:
                self._dispatch()

    def _take(self, share: int) -> list[_Waiting]:
        """Takes the oldest row and its company out of the queue; `share` spreads few rows over the free slots."""
        while self._arrivals[0].gone:
            self._arrivals.popleft()
        oldest = self._arrivals[0]
        index = bisect_left(self._sorted, oldest.key, key=_key)
        # Only the nearest can join; looking at those keeps this cheap however many wait.
        low, high = max(index - self._limits.rows, 0), index + self._limits.rows
        near = [entry.key[0] for entry in self._sorted[low:high]]
        first, end = group_around(near, index - low, min(share, self._limits.rows), self._limits)
        group = self._sorted[low + first : low + end]
        del self._sorted[low + first : low + end]
        now = asyncio.get_running_loop().time()
        for entry in group:
            entry.gone = True
        late = [entry for entry in group if entry.job.deadline <= now]
        for entry in late:
            entry.job.settle(entry.row, AssayError(Reason.DEADLINE_EXCEEDED))
        return [entry for entry in group if entry.job.deadline > now] if late else group

    async def _call(self, group: list[_Waiting]) -> None:
        try:
            await self._embed(group)
        except EncodingFailed as failure:
            if len(group) == 1:
                _log.warning("a text could not be encoded", extra={"reason": str(failure)})
                _settle_all(group, AssayError(Reason.INTERNAL))
                return
            _log.warning("a group is tried text by text", extra={"rows": len(group), "reason": str(failure)})
            for entry in group:
                if not entry.job.future.done():
                    await self._call([entry])
        except EncoderUnavailable as failure:
            _log.warning("the encoder can't be reached", extra={"reason": str(failure)})
            _settle_all(group, AssayError(Reason.PART_UNAVAILABLE, part="triton"))
        except TimeoutError:
            _settle_all(group, AssayError(Reason.DEADLINE_EXCEEDED))
        except asyncio.CancelledError:
            _settle_all(group, AssayError(Reason.PART_UNAVAILABLE, part="classifier"))
            raise
        except Exception:
            _log.exception("a call to the encoder failed unexpectedly")
            _settle_all(group, AssayError(Reason.INTERNAL))

    async def _embed(self, group: list[_Waiting]) -> None:
        if self._observe is not None:
            self._observe(len(group), len(group) * group[-1].key[0])
        deadline = max(entry.job.deadline for entry in group)
        embeddings = await self._encoder.embed([entry.ids for entry in group], deadline)
        for entry, embedding in zip(group, embeddings, strict=True):
            entry.job.settle(entry.row, embedding)


def _key(entry: _Waiting) -> tuple[int, int]:
    return entry.key


def _expire(job: _Job) -> None:
    if not job.future.done():
        job.future.set_result(None)


def _settle_all(group: Sequence[_Waiting], error: AssayError) -> None:
    for entry in group:
        entry.job.settle(entry.row, AssayError(error.reason, **error.metadata))
