"""What is kept of a call: the audit record of each text, and the request that a person look at a doubtful answer.

Neither holds the raw text.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.answers import Classification
from services.kernel.errors import AssayError


@dataclass(slots=True)
class AuditRecord:
    """One text, or one call that was refused as a whole, and what became of it."""

    audit_id: str
    time_ns: int
    """Unix time of the answer, in nanoseconds."""

    request_id: str
    tenant: str
    caller: str
    """Personal data masked, as in `request_id` and in the three below `method`."""

    subject: str
    """A pseudonym of the person whom the call is about; empty when none was named."""

    method: str
    model: str
    """The model that answered, or else the one that was asked for."""

    model_version: str
    industry: str
    text_hmac: bytes
    masked_text: str
    """Empty when the text was refused for its size in bytes, or there was none."""

    text_characters: int
    text_bytes: int
    tokens: int
    latency: float
    """Seconds from the arrival of the request."""

    classification: Classification | None = None
    review_task_id: str = ""
    error: AssayError | None = None
    """Set when there is no answer. Neither this nor `classification` is set for a call that classifies nothing."""


@dataclass(slots=True)
class ReviewRequest:
    """A doubtful answer for a person to look at."""

    task_id: str
    audit_id: str
    time_ns: int
    masked_text: str
    classification: Classification
    threshold: float
    tenant: str
    caller: str
