"""Where review tasks are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.kernel.paging import Position
from services.kernel.stores import Sink
from services.review.tasks import Task, TaskQuery, TaskRequest


class TaskStore(Sink[TaskRequest], Protocol):
    """Opens one task for each request, under its task_id; a repeated request changes nothing."""

    async def get(self, task_id: str) -> Task | None:
        """Returns a task, None when there is none.

        Raises:
            StoreUnavailable
        """

    async def page(self, query: TaskQuery, after: Position | None, limit: int) -> Sequence[Task]:
        """Returns at most `limit` tasks by (create_time, task_id), highest first, below `after` when it is given.

        Raises:
            StoreUnavailable
        """

    async def ping(self) -> None:
        """Returns when the store works. Raises StoreUnavailable when it does not."""

    async def close(self) -> None:
        """Waits for what runs and lets go of the store; idempotent."""
