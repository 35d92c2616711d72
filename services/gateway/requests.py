"""What a caller asks, as the domain sees it."""

from __future__ import annotations

from dataclasses import dataclass

ANONYMOUS = "anonymous"
DEFAULT_TENANT = "default"
_CALLER_LENGTH = 128


# The next two are built for each request: not frozen, because a frozen dataclass takes three times as long to build.
@dataclass(slots=True)
class Call:
    """One RPC: who, what and until when."""

    method: str
    """Full name, "/assay.ai.v1.AIService/ClassifyText"."""

    caller: str
    """The name that the caller gave itself, or "anonymous"."""

    started: float
    """When it came, by time.monotonic(): the event loop's own clock may have milliseconds only."""

    deadline: float
    """By the event loop's clock."""

    tenant: str = DEFAULT_TENANT
    subject: str = ""
    """The person whom the call is about, as the caller named them: personal, so only a pseudonym is kept."""


@dataclass(slots=True)
class Query:
    """One text and how to classify it; empty strings stand for the defaults."""

    text: str
    model_version: str = ""
    model: str = ""
    industry: str = ""
    request_id: str = ""

    path: str = ""
    """Where the query stands in the caller's message, with the dot: "requests[3]."; empty when it is the message."""


def caller_name(claimed: str | bytes | None) -> str:
    """Returns the name that a caller gave itself, if it is 1 to 128 printable ASCII characters, else "anonymous"."""
    if not isinstance(claimed, str):
        return ANONYMOUS
    name = claimed.strip()
    if 0 < len(name) <= _CALLER_LENGTH and name.isascii() and name.isprintable():
        return name
    return ANONYMOUS
