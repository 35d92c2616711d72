"""AIService on the wire: parse, one domain call, render."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

from assay.ai.v1 import ai_pb2, ai_pb2_grpc

from services.gateway import convert
from services.gateway.answers import Answer
from services.gateway.governance import GovernedClassifier
from services.gateway.requests import Call, caller_name
from services.gateway.streaming import StreamLimits, in_completion_order
from services.gateway.validation import check_subject, check_tenant
from services.kernel.application import Refusal
from services.kernel.errors import AssayError
from services.kernel.status import language

_SERVICE = ai_pb2.DESCRIPTOR.services_by_name["AIService"].full_name
_CLASSIFY = f"/{_SERVICE}/ClassifyText"
_BATCH = f"/{_SERVICE}/BatchClassifyText"
_STREAM = f"/{_SERVICE}/StreamClassifyText"
_LIST = f"/{_SERVICE}/ListModels"
CALLER_KEY = "x-assay-caller"
TENANT_KEY = "x-assay-tenant"
SUBJECT_KEY = "x-assay-subject"
_LANGUAGE_KEY = "accept-language"

# grpc.aio counts deadlines in milliseconds and rounds up: what has no more left was past on arrival.
_TICK_SECONDS = 0.001


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
        call = await self._call(_CLASSIFY, context)
        answer = await self._classifier.classify(call, convert.to_query(request))
        return convert.from_answer(answer)

    async def BatchClassifyText(
        self, request: ai_pb2.BatchClassifyTextRequest, context: Any
    ) -> ai_pb2.BatchClassifyTextResponse:
        call = await self._call(_BATCH, context)
        results = await self._classifier.classify_batch(call, convert.to_queries(request.requests))
        return convert.from_batch(results, _language(context))

    async def StreamClassifyText(
        self, request_iterator: AsyncIterator[ai_pb2.StreamClassifyTextRequest], context: Any
    ) -> AsyncIterator[ai_pb2.StreamClassifyTextResponse]:
        spoken = _language(context)
        whole = await self._call(_STREAM, context)

        async def answer(item: ai_pb2.StreamClassifyTextRequest) -> ai_pb2.StreamClassifyTextResponse:
            result = await self._stream_item(self._again(whole, context), item)
            return convert.from_stream_item(item.id, result, spoken)

        try:
            async with aclosing(in_completion_order(request_iterator, answer, self._stream)) as responses:
                async for response in responses:
                    yield response
        except AssayError as error:
            # The stream itself broke: a message that can't be read. Its items have their records.
            await self._classifier.refuse(self._again(whole, context), error)
            raise

    async def ListModels(self, request: ai_pb2.ListModelsRequest, context: Any) -> ai_pb2.ListModelsResponse:
        call = await self._call(_LIST, context)
        page = await self._classifier.list_models(call, request.page_size, request.page_token, request.industry)
        return convert.from_model_page(page)

    async def refused(self, refusal: Refusal) -> None:
        """Records a call that the host refused before any of the methods above saw it."""
        call = Call(refusal.method, "", time.monotonic(), self._loop.time())
        # Why it was refused is clear already, so a bad name of a tenant or a person changes nothing.
        with suppress(AssayError):
            _introduce(call, refusal.metadata)
        await self._classifier.refuse(call, refusal.error, refusal.message_bytes)

    async def _stream_item(self, call: Call, item: ai_pb2.StreamClassifyTextRequest) -> Answer | AssayError:
        try:
            return await self._classifier.classify_item(call, item.id, convert.to_query(item.request, "request."))
        except AssayError as error:
            return error

    async def _call(self, method: str, context: Any) -> Call:
        """Returns the call that begins.

        Raises:
            AssayError: FIELD_INVALID, recorded already: it names its tenant or the person wrongly.
        """
        call = Call(method, "", time.monotonic(), self._deadline(context))
        try:
            _introduce(call, context.invocation_metadata())
        except AssayError as error:
            await self._classifier.refuse(call, error)
            raise
        return call

    def _again(self, call: Call, context: Any) -> Call:
        """Returns the call as of now: each item of a stream has its own beginning and its own time."""
        return replace(call, started=time.monotonic(), deadline=self._deadline(context))

    def _deadline(self, context: Any) -> float:
        remaining: float | None = context.time_remaining()
        if remaining is None:
            return self._loop.time() + self._default_deadline
        if remaining <= _TICK_SECONDS:
            return self._loop.time()
        return self._loop.time() + min(remaining, self._longest_deadline)


def _introduce(call: Call, metadata: Any) -> None:
    """Fills in who calls, for whom and about whom; of a key that comes twice the first counts.

    Raises:
        AssayError: FIELD_INVALID. What could be told is filled in.
    """
    claims: dict[str, str | bytes] = {}
    for key, value in metadata or ():
        if key.startswith("x-assay-"):
            claims.setdefault(key, value)
    call.caller = caller_name(claims.get(CALLER_KEY))
    call.tenant = check_tenant(TENANT_KEY, claims.get(TENANT_KEY))
    call.subject = check_subject(SUBJECT_KEY, claims.get(SUBJECT_KEY))


def _language(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == _LANGUAGE_KEY and isinstance(value, str):
            return language(value)
    return "en"
