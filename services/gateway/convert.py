"""Between the domain and protobuf, which only this, the servicer and the adapters know."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from assay.ai.v1 import ai_pb2
from assay.audit.v1 import audit_pb2
from assay.classifier.v1 import classifier_pb2
from assay.review.v1 import review_pb2

from services.gateway.answers import Answer, Classification, Model, ModelPage
from services.gateway.ports import Entry
from services.gateway.recording import Encode
from services.gateway.records import AuditRecord, ReviewRequest
from services.gateway.requests import Query
from services.kernel.errors import AssayError, Reason
from services.kernel.eventlog.port import AUDIT_TOPIC, REVIEW_TOPIC, Event
from services.kernel.status import from_error_proto, to_error_proto, to_status

_NANOS = 1_000_000_000
_SCHEMA = 1  # of AuditEvent
_LARGE = "large"  # the one tier that there is


def to_query(request: ai_pb2.TextRequest, path: str = "") -> Query:
    return Query(request.text, request.model_version, request.model, request.industry, request.request_id, path)


def to_queries(requests: Iterable[ai_pb2.TextRequest]) -> list[Query]:
    return [to_query(request, f"requests[{index}].") for index, request in enumerate(requests)]


def from_answer(answer: Answer) -> ai_pb2.ClassificationResponse:
    found = answer.classification
    return ai_pb2.ClassificationResponse(
        label=found.label,
        confidence=found.confidence,
        model=found.model,
        model_version=found.model_version,
        request_id=answer.request_id,
        audit_id=answer.audit_id,
        review_task_id=answer.review_task_id,
    )


def from_batch(results: Iterable[Answer | AssayError], language: str) -> ai_pb2.BatchClassifyTextResponse:
    """`language`, here and below: that of the errors' LocalizedMessage, "en" or "zh"."""
    response = ai_pb2.BatchClassifyTextResponse()
    for result in results:
        if isinstance(result, AssayError):
            response.results.add(error=to_status(result, language))
        else:
            response.results.add(response=from_answer(result))
    return response


def from_stream_item(item_id: str, result: Answer | AssayError, language: str) -> ai_pb2.StreamClassifyTextResponse:
    if isinstance(result, AssayError):
        return ai_pb2.StreamClassifyTextResponse(id=item_id, error=to_status(result, language))
    return ai_pb2.StreamClassifyTextResponse(id=item_id, response=from_answer(result))


def from_model_page(page: ModelPage) -> ai_pb2.ListModelsResponse:
    response = ai_pb2.ListModelsResponse(next_page_token=page.next_page_token)
    for model in page.models:
        response.models.add(
            name=model.name,
            version=model.version,
            industry=model.industry,
            languages=model.languages,
            labels=model.labels,
            max_tokens=model.max_tokens,
            stable=model.stable,
            industry_default=model.industry_default,
        )
    return response


def to_model_page(response: classifier_pb2.ListModelsResponse) -> ModelPage:
    models = (
        Model(
            model.name,
            model.version,
            model.industry,
            tuple(model.languages),
            tuple(model.labels),
            model.max_tokens,
            model.stable,
            model.industry_default,
            model.raw_input,
        )
        for model in response.models
    )
    return ModelPage(tuple(models), response.next_page_token)


def from_queries(queries: Sequence[Query]) -> classifier_pb2.ClassifyBatchRequest:
    request = classifier_pb2.ClassifyBatchRequest()
    add = request.items.add
    for query in queries:
        add(text=query.text, model=query.model, model_version=query.model_version, industry=query.industry)
    return request


def to_classifications(response: classifier_pb2.ClassifyBatchResponse) -> list[Classification | AssayError]:
    """Reads the results; one that is empty, or whose confidence is none, becomes INTERNAL."""
    return [_to_classification(result) for result in response.results]


def _to_classification(result: classifier_pb2.ClassifyResult) -> Classification | AssayError:
    if result.HasField("classification"):
        found = result.classification
        confidence = found.confidence
        if found.label and math.isfinite(confidence):
            return Classification(
                found.label, confidence, found.model, found.model_version, found.industry, found.tokens
            )
    elif result.HasField("error"):
        return from_error_proto(result.error)
    return AssayError(Reason.INTERNAL)


def record_encoder(gateway: str) -> Encode:
    """Returns what turns records into the outbox's entries; `gateway` names this process in them."""

    def encode(record: AuditRecord, review: ReviewRequest | None) -> list[Entry]:
        entries = [Entry(AUDIT_TOPIC, Event(record.audit_id, _audit_event(record, gateway).SerializeToString()))]
        if review is not None:
            entries.append(Entry(REVIEW_TOPIC, Event(review.task_id, _review_requested(review).SerializeToString())))
        return entries

    return encode


def _audit_event(record: AuditRecord, gateway: str) -> audit_pb2.AuditEvent:
    event = audit_pb2.AuditEvent(
        event_id=record.audit_id,
        schema=_SCHEMA,
        request_id=record.request_id,
        tenant=record.tenant,
        caller=record.caller,
        subject=record.subject,
        method=record.method,
        model=record.model,
        model_version=record.model_version,
        industry=record.industry,
        gateway=gateway,
    )
    event.create_time.seconds, event.create_time.nanos = divmod(record.time_ns, _NANOS)
    event.latency.seconds, event.latency.nanos = divmod(int(record.latency * _NANOS), _NANOS)
    taken = event.input
    taken.text_hmac = record.text_hmac
    taken.masked_text = record.masked_text
    taken.characters = record.text_characters
    taken.bytes = record.text_bytes
    taken.tokens = record.tokens
    if record.error is not None:
        event.error.CopyFrom(to_error_proto(record.error))
    else:
        answer = event.answer
        answer.SetInParent()
        if record.classification is not None:
            event.tier = _LARGE
            answer.label = record.classification.label
            answer.confidence = record.classification.confidence
            answer.review_task_id = record.review_task_id
    return event


def _review_requested(review: ReviewRequest) -> review_pb2.ReviewRequested:
    found = review.classification
    event = review_pb2.ReviewRequested(
        task_id=review.task_id,
        audit_id=review.audit_id,
        masked_text=review.masked_text,
        model=found.model,
        model_version=found.model_version,
        industry=found.industry,
        label=found.label,
        confidence=found.confidence,
        threshold=review.threshold,
        tenant=review.tenant,
        caller=review.caller,
    )
    event.create_time.seconds, event.create_time.nanos = divmod(review.time_ns, _NANOS)
    return event
