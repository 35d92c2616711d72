"""assay.classifier.v1.ClassifierService over the domain."""

from __future__ import annotations

import asyncio
from typing import Any

from assay.classifier.v1 import classifier_pb2, classifier_pb2_grpc

from services.classifier import convert
from services.classifier.classification import Classifier
from services.classifier.resolution import Model, Resolver
from services.kernel import paging


class ClassifierServicer(classifier_pb2_grpc.ClassifierServiceServicer):
    """`answer_seconds` bounds a call that brings no deadline."""

    def __init__(self, classifier: Classifier, resolver: Resolver, answer_seconds: float) -> None:
        self._classifier = classifier
        self._resolver = resolver
        self._answer_seconds = answer_seconds

    async def ClassifyBatch(
        self, request: classifier_pb2.ClassifyBatchRequest, context: Any
    ) -> classifier_pb2.ClassifyBatchResponse:
        remaining = context.time_remaining()
        seconds = self._answer_seconds if remaining is None else min(remaining, self._answer_seconds)
        deadline = asyncio.get_running_loop().time() + seconds
        return convert.response(await self._classifier.classify(convert.items(request), deadline))

    async def ListModels(
        self, request: classifier_pb2.ListModelsRequest, context: Any
    ) -> classifier_pb2.ListModelsResponse:
        filters = {"industry": request.industry}
        size = paging.page_size(request.page_size)
        models = self._resolver.models(request.industry)
        last = paging.decode_token(request.page_token, filters, (str, int, int, int))
        rest = [model for model in models if last is None or _order(_position(model)) > _order(last)]
        page, token = paging.cut(rest[: size + 1], size, filters, _position)
        return classifier_pb2.ListModelsResponse(models=map(convert.description, page), next_page_token=token)


def _position(model: Model) -> paging.Position:
    version = model.head.version
    return model.name, version.major, version.minor, version.patch


def _order(position: paging.Position) -> tuple[str, int, int, int]:
    """Sorts by name, then newest version first."""
    name, major, minor, patch = position
    return str(name), -int(major), -int(minor), -int(patch)
