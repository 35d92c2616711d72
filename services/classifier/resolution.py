"""Which model answers an item: the model's name, a semantic version and an industry become one head.

Versions follow semver.org: "" is the stable version, which is the newest that ships until channels move it; "v2" the
newest 2.x.y, "v2.1" the newest 2.1.x, "v2.1.3" exactly that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.classifier.bundle import Head
from services.kernel.errors import AssayError, Reason

DEFAULT_MODELS: Mapping[str, str] = {"general": "intent", "finance": "banking", "medical": "triage"}
"""The model of an item that names an industry only."""

DEFAULT_INDUSTRY = "general"
"""The industry of an item that names neither model nor industry."""

_VERSION = re.compile(r"v(0|[1-9][0-9]{0,5})(?:\.(0|[1-9][0-9]{0,5})(?:\.(0|[1-9][0-9]{0,5}))?)?", re.ASCII)
_SHOWN = 64  # characters of a caller's value that an error repeats


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One version of one model as callers see it."""

    head: Head
    name: str
    version: str
    """With its v: "v1.0.0"."""
    industry: str
    stable: bool
    """Whether an empty version means this one."""
    industry_default: bool
    """Whether an item of this industry without a model gets this one."""


class Resolver:
    """Resolves over a fixed set of heads."""

    def __init__(self, heads: Iterable[Head]) -> None:
        by_name: dict[str, list[Head]] = {}
        for head in sorted(heads, key=lambda head: head.version, reverse=True):
            by_name.setdefault(head.name, []).append(head)
        self._models = {name: [_describe(head, by_name[name][0]) for head in by_name[name]] for name in sorted(by_name)}
        self._industries = sorted({head.industry for heads in by_name.values() for head in heads})
        # Only what resolved is kept, so callers can't fill it.
        self._resolved: dict[tuple[str, str, str], Model] = {}

    def models(self, industry: str = "") -> list[Model]:
        """Returns every model, by name, then newest version first; only one industry's where one is given.

        Raises:
            AssayError: INDUSTRY_UNKNOWN.
        """
        self._check_industry(industry)
        return [
            model
            for versions in self._models.values()
            for model in versions
            if not industry or model.industry == industry
        ]

    def resolve(self, model: str, model_version: str, industry: str) -> Model:
        """Returns the model that an item with these three fields gets; each may be empty.

        Raises:
            AssayError: INDUSTRY_UNKNOWN, MODEL_UNKNOWN, MODEL_VERSION_INVALID, MODEL_VERSION_UNKNOWN or
                INDUSTRY_MISMATCH, in this order.
        """
        key = (model, model_version, industry)
        found = self._resolved.get(key)
        if found is None:
            self._check_industry(industry)
            name = model or self._default(industry or DEFAULT_INDUSTRY)
            found = self._version(name, model_version)
            if industry and found.industry != industry:
                raise AssayError(
                    Reason.INDUSTRY_MISMATCH,
                    field="industry",
                    value=industry,
                    model=found.name,
                    model_industry=found.industry,
                )
            self._resolved[key] = found
        return found

    def _check_industry(self, industry: str) -> None:
        if industry and industry not in self._industries:
            known = ", ".join(self._industries)
            raise AssayError(Reason.INDUSTRY_UNKNOWN, field="industry", value=industry[:_SHOWN], known=known)

    def _default(self, industry: str) -> str:
        name = DEFAULT_MODELS.get(industry)
        if name is None or name not in self._models:
            # An industry whose default does not ship, or that came later: its first model by name.
            name = next((n for n, versions in self._models.items() if versions[0].industry == industry), name or "")
        return name

    def _version(self, name: str, text: str) -> Model:
        versions = self._models.get(name)
        if versions is None:
            known = ", ".join(self._models)
            raise AssayError(Reason.MODEL_UNKNOWN, field="model", value=name[:_SHOWN], known=known)
        if not text:
            return versions[0]
        form = _VERSION.fullmatch(text)
        if form is None:
            raise AssayError(Reason.MODEL_VERSION_INVALID, field="model_version", value=text[:_SHOWN])
        wanted = tuple(int(part) for part in form.groups() if part is not None)
        for model in versions:
            version = model.head.version
            if (version.major, version.minor, version.patch)[: len(wanted)] == wanted:
                return model
        raise AssayError(
            Reason.MODEL_VERSION_UNKNOWN,
            field="model_version",
            value=text,
            model=name,
            known=", ".join(model.version for model in versions),
        )


def _describe(head: Head, newest: Head) -> Model:
    return Model(
        head=head,
        name=head.name,
        version=f"v{head.version}",
        industry=head.industry,
        stable=head is newest,
        industry_default=head is newest and DEFAULT_MODELS.get(head.industry) == head.name,
    )
