"""AIService on the wire: parse, one domain call, render."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from assay.ai.v1 import ai_pb2, ai_pb2_grpc

from services.gateway import convert
from services.gateway.answers import Answer
from services.gateway.governance import GovernedClassifier
from services.gateway.requests import Call, caller_name
from services.gateway.streaming import StreamLimits, in_completion_order
from services.kernel.application import Refusal
from services.kernel.errors import AssayError
from services.kernel.status import language

_SERVICE = ai_pb2.DESCRIPTOR.services_by_name["AIService"].full_name
_CLASSIFY = f"/{_SERVICE}/ClassifyText"
_BATCH = f"/{_SERVICE}/BatchClassifyText"
_STREAM = f"/{_SERVICE}/StreamClassifyText"
_LIST = f"/{_SERVICE}/ListModels"
CALLER_KEY = "x-assay-caller"
_LANGUAGE_KEY = "accept-language"


class AIServicer(ai_pb2_grpc.AIServiceServicer):
    """Serves a GovernedClassifier."""

    def __init__(
        self, classifier: GovernedClassifier, stream: StreamLimits, default_deadline: float, longest_deadline: float
    ) -> None:
        """Deadlines are in seconds: of a call that brings none, and the longest that is heeded."""
        self._classifier = classifier
        self._stream = stream
        self._default_deadline = default_deadline
        self._longest_deadline = longest_deadline
        self._loop = asyncio.get_running_loop()

    async def ClassifyText(self, request: ai_pb2.TextRequest, context: Any) -> ai_pb2.ClassificationResponse:
        call = self._call(_CLASSIFY, context)
        answer = await self._classifier.classify(call, convert.to_query(request))
        return convert.from_answer(answer)

    async def BatchClassifyText(
        self, request: ai_pb2.BatchClassifyTextRequest, context: Any
    ) -> ai_pb2.BatchClassifyTextResponse:
        call = self._call(_BATCH, context)
        results = await self._classifier.classify_batch(call, convert.to_queries(request.requests))
        return convert.from_batch(results, _language(context))

    async def StreamClassifyText(
        self, request_iterator: AsyncIterator[ai_pb2.StreamClassifyTextRequest], context: Any
    ) -> AsyncIterator[ai_pb2.StreamClassifyTextResponse]:
        spoken = _language(context)

        async def answer(item: ai_pb2.StreamClassifyTextRequest) -> ai_pb2.StreamClassifyTextResponse:
            result = await self._stream_item(self._call(_STREAM, context), item)
            return convert.from_stream_item(item.id, result, spoken)

        try:
            async with aclosing(in_completion_order(request_iterator, answer, self._stream)) as responses:
                async for response in responses:
                    yield response
        except AssayError as error:
            # The stream itself broke: a message that can't be read. Its items have their records.
            await self._classifier.refuse(self._call(_STREAM, context), error)
            raise

    async def ListModels(self, request: ai_pb2.ListModelsRequest, context: Any) -> ai_pb2.ListModelsResponse:
        call = self._call(_LIST, context)
        page = await self._classifier.list_models(call, request.page_size, request.page_token, request.industry)
        return convert.from_model_page(page)

    async def refused(self, refusal: Refusal) -> None:
        """Records a call that the host refused before any of the methods above saw it."""
        call = Call(refusal.method, _caller(refusal.metadata), time.monotonic(), self._loop.time())
        await self._classifier.refuse(call, refusal.error, refusal.message_bytes)

    async def _stream_item(self, call: Call, item: ai_pb2.StreamClassifyTextRequest) -> Answer | AssayError:
        try:
            return await self._classifier.classify_item(call, item.id, convert.to_query(item.request, "request."))
        except AssayError as error:
            return error

    def _call(self, method: str, context: Any) -> Call:
        remaining = context.time_remaining()
        allowed = self._default_deadline if remaining is None else min(remaining, self._longest_deadline)
        caller = _caller(context.invocation_metadata())
        return Call(method, caller, time.monotonic(), self._loop.time() + allowed)


def _caller(metadata: Any) -> str:
    for key, value in metadata or ():
        if key == CALLER_KEY:
            return caller_name(value)
    return caller_name(None)


def _language(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == _LANGUAGE_KEY and isinstance(value, str):
            return language(value)
    return "en"
