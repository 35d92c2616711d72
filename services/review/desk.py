"""The review desk: the tasks that wait for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.kernel.echo import echo
from services.kernel.errors import AssayError, Reason
from services.kernel.paging import Position, page_of
from services.review.ports import TaskStore
from services.review.tasks import Task, TaskQuery


@dataclass(frozen=True, slots=True)
class ReviewDesk:
    """Answers from a store."""

    store: TaskStore

    async def get(self, task_id: str) -> Task:
        """Returns a task.

        Raises:
            AssayError: FIELD_INVALID for an empty id, TASK_UNKNOWN, PART_UNAVAILABLE.
        """
        if not task_id:
            wanted = "the review_task_id of an answer"
            raise AssayError(Reason.FIELD_INVALID, field="task_id", value="empty", limit=wanted)
        task = await self.store.get(task_id)
        if task is None:
            raise AssayError(Reason.TASK_UNKNOWN, field="task_id", value=echo(task_id))
        return task

    async def page(self, query: TaskQuery, size: int, token: str) -> tuple[Sequence[Task], str]:
        """Returns a page of tasks, newest first, and the token of the next one, empty on the last.

        Raises:
            AssayError: FIELD_INVALID for a negative size, PAGE_TOKEN_INVALID, PART_UNAVAILABLE.
        """

        async def fetch(after: Position | None, limit: int) -> Sequence[Task]:
            return await self.store.page(query, after, limit)

        return await page_of(
            fetch,
            lambda task: (task.create_time, task.request.task_id),
            shape=(int, str),
            filters=query.filters(),
            size=size,
            token=token,
            weight=lambda task: len(task.request.request),
        )
