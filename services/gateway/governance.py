"""A governed answer: checked before, recorded before it leaves, and shown to a person when it is doubtful.

Every text that is asked gets exactly one audit record, whatever becomes of it: an answer, a refusal, a failure, or a
caller that went away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.gateway.answers import Answer, Classification, ModelPage
from services.gateway.batching import MicroBatcher, Ticket
from services.gateway.inputs import ModelInputs
from services.gateway.masking import MaskedText
from services.gateway.ports import Classifier
from services.gateway.recording import Recorder
from services.gateway.records import AuditRecord, ReviewRequest
from services.gateway.requests import Call, Query
from services.gateway.scribe import Scribe
from services.gateway.validation import Limits, check_batch, check_identifier, check_query
from services.kernel.errors import AssayError, Reason
from services.kernel.identifiers import uuid7

_TICK = 0.005
"""Seconds by which a deadline may seem to be ahead when the host cancels for it: event loops count in milliseconds."""


class _Inquiry:
    """One query on its way through, with what its record needs."""

    __slots__ = ("audit_id", "encoded", "masked", "query", "refusal", "ticket")

    def __init__(self, query: Query) -> None:
        self.query = query
        self.audit_id = uuid7()
        self.encoded = query.text.encode()
        self.masked: MaskedText | None = None
        self.refusal: AssayError | None = None
        self.ticket: Ticket | None = None


class GovernedClassifier:
    """Answers queries through the batcher, with records through the recorder."""

    def __init__(
        self,
        *,
        limits: Limits,
        batcher: MicroBatcher,
        classifier: Classifier,
        recorder: Recorder,
        scribe: Scribe,
        inputs: ModelInputs,
    ) -> None:
        self._limits = limits
        self._batcher = batcher
        self._classifier = classifier
        self._recorder = recorder
        self._scribe = scribe
        self._inputs = inputs
        self._loop = asyncio.get_running_loop()
        self.reviews = 0
        """How many answers went to a person as well."""

    async def classify(self, call: Call, query: Query) -> Answer:
        """Answers one query.

        Raises:
            AssayError: why there is no answer.
        """
        (result,) = await self._answer(call, [query])
        if isinstance(result, AssayError):
            raise result
        return result

    async def classify_item(self, call: Call, item_id: str, query: Query) -> Answer:
        """Answers one query of a stream, which its caller knows by `item_id`.

        Raises:
            AssayError: why there is no answer; FIELD_INVALID when the id is too long or not printable ASCII.
        """
        try:
            check_identifier("id", item_id)
        except AssayError as error:
            await self.refuse(call, error, len(query.text.encode()))
            raise
        return await self.classify(call, query)

    async def classify_batch(self, call: Call, queries: Sequence[Query]) -> list[Answer | AssayError]:
        """Answers queries together; results stand in their order, a bad one fails alone.

        Raises:
            AssayError: BATCH_EMPTY, BATCH_TOO_LARGE, or AUDIT_UNAVAILABLE: no query is answered.
        """
        try:
            check_batch(len(queries), self._limits)
        except AssayError as error:
            await self.refuse(call, error)
            raise
        return await self._answer(call, queries)

    async def list_models(self, call: Call, page_size: int, page_token: str, industry: str) -> ModelPage:
        """Returns a page of what can be called.

        Raises:
            AssayError: as the classifier says.
        """
        try:
            shown = self._scribe.masker(call).mask(industry).text
            page = await self._classifier.list_models(page_size, page_token, shown, call.deadline)
        except AssayError as error:
            await self.refuse(call, error)
            raise self._scribe.masked(call, error) from None
        except asyncio.CancelledError:
            departure = self._departure(call)
            await self._depart(departure, [self._scribe.call(call, departure)])
            raise
        await self._recorder.record([(self._scribe.call(call, None), None)])
        return page

    async def refuse(self, call: Call, error: AssayError, message_bytes: int = 0) -> None:
        """Records a call that is refused as a whole.

        Raises:
            AssayError: AUDIT_UNAVAILABLE.
        """
        await self._recorder.record([(self._scribe.call(call, error, message_bytes), None)])

    async def _answer(self, call: Call, queries: Sequence[Query]) -> list[Answer | AssayError]:
        inquiries = [_Inquiry(query) for query in queries]
        try:
            for inquiry in inquiries:
                self._submit(call, inquiry)
            found = [await self._result(inquiry) for inquiry in inquiries]
        except asyncio.CancelledError:
            departure = self._departure(call)
            for inquiry in inquiries:
                if inquiry.ticket is not None:
                    self._batcher.withdraw(inquiry.ticket)
            await self._depart(departure, [self._record(call, inquiry, departure)[0] for inquiry in inquiries])
            raise
        except Exception:
            failure = AssayError(Reason.INTERNAL)
            await self._recorder.record([self._record(call, inquiry, failure) for inquiry in inquiries])
            raise
        records = [self._record(call, inquiry, result) for inquiry, result in zip(inquiries, found, strict=True)]
        await self._recorder.record(records)
        self.reviews += sum(review is not None for _, review in records)
        return [
            Answer(result, record.request_id, record.audit_id, record.review_task_id)
            if isinstance(result, Classification)
            else result
            for result, (record, _) in zip(found, records, strict=True)
        ]

    def _submit(self, call: Call, inquiry: _Inquiry) -> None:
        try:
            if call.deadline <= self._loop.time():
                raise AssayError(Reason.DEADLINE_EXCEEDED)
            check_query(inquiry.query, inquiry.encoded, self._limits)
            self._recorder.require_room()
            masker = self._scribe.masker(call)
            masked = inquiry.masked = masker.mask(inquiry.query.text)
            shown = self._inputs.shown(inquiry.query, masked, masker)
            inquiry.ticket = self._batcher.submit(shown, call.deadline)
        except AssayError as error:
            inquiry.refusal = error

    async def _result(self, inquiry: _Inquiry) -> Classification | AssayError:
        result = await inquiry.ticket.future if inquiry.ticket is not None else inquiry.refusal
        assert result is not None
        path = inquiry.query.path
        if path and isinstance(result, AssayError) and "field" in result.metadata:
            result.metadata["field"] = path + result.metadata["field"]
        return result

    def _departure(self, call: Call) -> AssayError:
        expired = call.deadline <= self._loop.time() + _TICK
        return AssayError(Reason.DEADLINE_EXCEEDED if expired else Reason.CANCELLED)

    async def _depart(self, departure: AssayError, records: Sequence[AuditRecord]) -> None:
        if departure.reason is Reason.DEADLINE_EXCEEDED:
            # The caller is still there, and told of it when this returns.
            await self._recorder.record([(record, None) for record in records])
        else:
            self._recorder.record_departed(records)

    def _record(
        self, call: Call, inquiry: _Inquiry, result: Classification | AssayError
    ) -> tuple[AuditRecord, ReviewRequest | None]:
        return self._scribe.text(call, inquiry.audit_id, inquiry.query, inquiry.encoded, inquiry.masked, result)
