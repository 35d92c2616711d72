"""ReviewService on the wire: parse, one domain call, render."""

from __future__ import annotations

from typing import Any

from assay.review.v1 import review_pb2, review_pb2_grpc

from services.review import convert
from services.review.desk import ReviewDesk


class ReviewServicer(review_pb2_grpc.ReviewServiceServicer):
    """Serves a ReviewDesk."""

    def __init__(self, desk: ReviewDesk) -> None:
        self._desk = desk

    async def GetTask(self, request: review_pb2.GetTaskRequest, context: Any) -> review_pb2.GetTaskResponse:
        task = await self._desk.get(request.task_id)
        return review_pb2.GetTaskResponse(task=convert.from_task(task))

    async def ListTasks(self, request: review_pb2.ListTasksRequest, context: Any) -> review_pb2.ListTasksResponse:
        tasks, token = await self._desk.page(convert.to_query(request), request.page_size, request.page_token)
        return convert.from_page(tasks, token)
