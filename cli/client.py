"""A caller of the public port, over gRPC and over plain HTTP, whose errors read well."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

import grpc
from assay.ai.v1 import ai_pb2, ai_pb2_grpc
from assay.audit.v1 import audit_pb2, audit_pb2_grpc
from assay.review.v1 import review_pb2, review_pb2_grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from cli.failure import CommandFailed

CALL_SECONDS = 30.0
CLASSIFY_PATH = "/v1/ai-services/text-classification"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
Response = TypeVar("Response", bound=Message)


class CallFailed(CommandFailed):
    """The mesh refused a call or can't be reached.

    `code` is the gRPC status by name, or "HTTP 400" and the like; `reason` the catalogue's, empty when there is none.
    """

    def __init__(self, code: str, message: str, reason: str = "", metadata: Mapping[str, str] | None = None) -> None:
        metadata = dict(metadata or {})
        words = f"{message or 'the call failed'} ({', '.join(part for part in (reason, code) if part)})"
        super().__init__(words, code=code, reason=reason, text=message, metadata=metadata)
        self.code = code
        self.reason = reason
        self.text = message
        self.metadata = metadata


class PublicPort:
    """The public port of a mesh at `address`, host:port. Answers are dictionaries in the JSON form of the protos.

    `caller` is the name that the audit log shows.
    """

    def __init__(self, address: str, caller: str = "assay-cli") -> None:
        self.address = address
        self._headers = {"x-assay-caller": caller}
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
        self._ai = ai_pb2_grpc.AIServiceStub(self._channel)
        self._audit = audit_pb2_grpc.AuditServiceStub(self._channel)
        self._review = review_pb2_grpc.ReviewServiceStub(self._channel)

    async def __aenter__(self) -> PublicPort:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def classify(self, **fields: str) -> dict[str, Any]:
        """Classifies over gRPC; `fields` are those of TextRequest. Raises CallFailed."""
        try:
            request = ai_pb2.TextRequest(**fields)
        except ValueError as error:  # lone surrogates, from an argument that was not UTF-8
            raise CommandFailed("the text is not valid UTF-8") from error
        return await self._answer(self._ai.ClassifyText, request)

    async def classify_rest(self, **fields: str) -> dict[str, Any]:
        """Classifies over HTTP with JSON. Raises CallFailed."""
        return await self._send("POST", CLASSIFY_PATH, fields)

    async def event(self, event_id: str) -> dict[str, Any]:
        """Returns an audit event. Raises CallFailed, NOT_FOUND until it has arrived."""
        answer = await self._answer(self._audit.GetEvent, audit_pb2.GetEventRequest(event_id=event_id))
        found: dict[str, Any] = answer["event"]
        return found

    async def events(self, size: int, **filters: Any) -> list[dict[str, Any]]:
        """Returns the newest audit events, at most `size`. Raises CallFailed."""
        return await self._pages(self._audit.ListEvents, audit_pb2.ListEventsRequest(**filters), "events", size)

    async def task(self, task_id: str) -> dict[str, Any]:
        """Returns a review task. Raises CallFailed, NOT_FOUND until it has arrived."""
        answer = await self._answer(self._review.GetTask, review_pb2.GetTaskRequest(task_id=task_id))
        found: dict[str, Any] = answer["task"]
        return found

    async def tasks(self, size: int, **filters: Any) -> list[dict[str, Any]]:
        """Returns the newest review tasks, at most `size`. Raises CallFailed."""
        return await self._pages(self._review.ListTasks, review_pb2.ListTasksRequest(**filters), "tasks", size)

    async def _pages(self, method: Any, request: Any, field: str, size: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < size:
            request.page_size = min(1000, size - len(found))
            answer = await self._answer(method, request)
            found += answer[field]
            request.page_token = answer["next_page_token"]
            if not request.page_token:
                break
        return found

    async def _answer(self, method: Any, request: Message) -> dict[str, Any]:
        try:
            response: Message = await method(request, timeout=CALL_SECONDS, metadata=tuple(self._headers.items()))
        except grpc.aio.AioRpcError as error:
            raise call_failed(error, self.address) from None
        return MessageToDict(response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)

    async def _send(self, method: str, path: str, body: Mapping[str, str]) -> dict[str, Any]:
        return await asyncio.to_thread(self._exchange, method, path, body)

    def _exchange(self, method: str, path: str, body: Mapping[str, str]) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.address, timeout=CALL_SECONDS)
        try:
            content = json.dumps(body, ensure_ascii=False).encode()
            connection.request(method, path, content, {"content-type": "application/json", **self._headers})
            response = connection.getresponse()
            raw = response.read()
        except UnicodeEncodeError:
            raise CommandFailed("the text is not valid UTF-8") from None
        except (OSError, http.client.HTTPException):
            text = f"nothing answers at {self.address}; is the mesh running? (assay status)"
            raise CallFailed("UNAVAILABLE", text) from None
        finally:
            connection.close()
        try:
            answer = json.loads(raw)
        except ValueError:
            raise CallFailed(f"HTTP {response.status}", raw[:200].decode(errors="replace")) from None
        if response.status != 200:
            raise self._from_rest(response.status, answer)
        parsed: dict[str, Any] = answer
        return parsed

    @staticmethod
    def _from_rest(status: int, answer: Any) -> CallFailed:
        """Reads the JSON form of google.rpc.Status."""
        body = answer.get("error", answer) if isinstance(answer, dict) else {}
        details = [detail for detail in body.get("details", ()) if detail.get("@type") == ERROR_INFO]
        info = details[0] if details else {}
        message = body.get("message", "")
        return CallFailed(f"HTTP {status}", message, info.get("reason", ""), info.get("metadata", {}))


def call_failed(error: Any, address: str) -> CallFailed:
    """Returns what a failed gRPC call, of either kind of client, says to the person who made it."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Is(info.DESCRIPTOR):
                    detail.Unpack(info)
    details = error.details() or ""
    if error.code() is grpc.StatusCode.UNAVAILABLE and not info.reason:
        details = f"nothing answers at {address}; is the mesh running? (assay status)"
    return CallFailed(error.code().name, details, info.reason, info.metadata)
