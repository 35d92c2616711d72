"""Between the messages of assay.classifier.v1 and the domain."""

from __future__ import annotations

from collections.abc import Sequence

from assay.classifier.v1 import classifier_pb2

from services.classifier.classification import Classification, Item
from services.classifier.resolution import Model
from services.kernel.errors import AssayError
from services.kernel.status import to_error_proto


def items(request: classifier_pb2.ClassifyBatchRequest) -> list[Item]:
    """Reads the items of a batch."""
    return [Item(item.text, item.model, item.model_version, item.industry) for item in request.items]


def response(results: Sequence[Classification | AssayError]) -> classifier_pb2.ClassifyBatchResponse:
    """Renders the results of a batch, in order."""
    return classifier_pb2.ClassifyBatchResponse(results=[_result(result) for result in results])


def _result(result: Classification | AssayError) -> classifier_pb2.ClassifyResult:
    if isinstance(result, AssayError):
        return classifier_pb2.ClassifyResult(error=to_error_proto(result))
    classification = classifier_pb2.Classification(
        label=result.label,
        confidence=result.confidence,
        model=result.model.name,
        model_version=result.model.version,
        industry=result.model.industry,
        tokens=result.tokens,
    )
    return classifier_pb2.ClassifyResult(classification=classification)


def description(model: Model) -> classifier_pb2.ModelDescription:
    """Renders a model for a list."""
    return classifier_pb2.ModelDescription(
        name=model.name,
        version=model.version,
        industry=model.industry,
        languages=model.head.languages,
        labels=model.head.labels,
        max_tokens=model.head.max_tokens,
        stable=model.stable,
        industry_default=model.industry_default,
        raw_input=model.head.raw_input,
    )
