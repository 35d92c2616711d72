"""What comes back: from the classifier, and to the caller."""

from __future__ import annotations

from dataclasses import dataclass


# Built once for each text, so not frozen; see requests.py.
@dataclass(slots=True)
class Classification:
    """What the classifier found for one text."""

    label: str
    confidence: float
    """Calibrated probability that the label is right, 0 to 1, as a 32-bit float."""

    model: str
    model_version: str
    industry: str
    tokens: int
    """The text's length in the model's tokens, special tokens included."""


@dataclass(slots=True)
class Answer:
    """A classification that is recorded, and on its way to a person when it is doubtful."""

    classification: Classification
    request_id: str
    audit_id: str
    review_task_id: str
    """Empty when no person needs to look at it."""


@dataclass(frozen=True, slots=True)
class Model:
    """One version of one model that can be called."""

    name: str
    version: str
    industry: str
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    max_tokens: int
    stable: bool
    industry_default: bool
    raw_input: bool = False
    """Whether it is shown texts as they came; all others get them masked."""


@dataclass(frozen=True, slots=True)
class ModelPage:
    models: tuple[Model, ...]
    next_page_token: str
