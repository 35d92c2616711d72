"""What callers may send and what they get, in the proto3 JSON mapping; a test parses each as its message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_AUDIT_ID = "0197a3c2-5d1e-7b40-9c55-2f6d1e8a4b01"
_TASK_ID = "0197a3c2-5d1f-7c12-8a90-7be4c0d31f22"

_CARD: dict[str, Any] = {
    "label": "lost_or_stolen_card",
    "confidence": 0.97,
    "model": "banking",
    "model_version": "v1.0.0",
    "request_id": "order-4711",
    "audit_id": _AUDIT_ID,
    "review_task_id": "",
}
_EVENT: dict[str, Any] = {
    "event_id": _AUDIT_ID,
    "create_time": "2026-01-31T09:30:00.125Z",
    "request_id": "order-4711",
    "tenant": "default",
    "caller": "shop",
    "subject": "",
    "method": "/assay.ai.v1.AIService/ClassifyText",
    "model": "banking",
    "model_version": "v1.0.0",
    "industry": "finance",
    "tier": "large",
    "input": {
        "text_hmac": "kq1Wm3sJbqk8Hn7Fz0mQm8g8m9Jr6d0l2y8uV1oX5aE=",
        "masked_text": "My card was stolen yesterday.",
        "characters": "29",
        "bytes": "29",
        "tokens": 9,
    },
    "answer": {"label": "lost_or_stolen_card", "confidence": 0.97, "review_task_id": ""},
    "latency": "0.014s",
    "gateway": "edge-1/412",
    "schema": 1,
}
_TASK: dict[str, Any] = {
    "task_id": _TASK_ID,
    "state": "TASK_STATE_OPEN",
    "request": {
        "task_id": _TASK_ID,
        "audit_id": _AUDIT_ID,
        "create_time": "2026-01-31T09:30:00.125Z",
        "masked_text": "It is not what I thought it would be",
        "model": "banking",
        "model_version": "v1.0.0",
        "industry": "finance",
        "label": "card_about_to_expire",
        "confidence": 0.41,
        "threshold": 0.7,
        "tenant": "default",
        "caller": "shop",
    },
    "create_time": "2026-01-31T09:30:00.611Z",
}

# By the full name of the message, then by a name: what it shows, and the value.
EXAMPLES: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "assay.ai.v1.TextRequest": {
        "smallest": ("A text and nothing else", {"text": "I would like to book a table for two tonight"}),
        "chinese": (
            "A Chinese text, newest 1.x.y of a model",
            {"text": "孩子发烧三天，咳嗽，需要看医生吗？", "model": "triage", "model_version": "v1"},
        ),
        "industry": (
            "The default model of an industry, with the caller's own id",
            {"text": "My card was stolen yesterday", "industry": "finance", "request_id": "order-4711"},
        ),
    },
    "assay.ai.v1.ClassificationResponse": {
        "sure": ("Sure enough: no review", _CARD),
        "doubtful": (
            "In doubt: a person will look at it",
            {**_CARD, "label": "card_about_to_expire", "confidence": 0.41, "review_task_id": _TASK_ID},
        ),
    },
    "assay.ai.v1.BatchClassifyTextRequest": {
        "mixed": (
            "Two models in one call",
            {
                "requests": [
                    {"text": "My card was stolen yesterday", "model": "banking"},
                    {"text": "这家店的服务太差了", "model": "sentiment"},
                ]
            },
        ),
    },
    "assay.ai.v1.BatchClassifyTextResponse": {
        "mixed": (
            "One answer, one text that fails alone",
            {
                "results": [
                    {"response": _CARD},
                    {
                        "error": {
                            "code": 3,
                            "message": "requests[1].text is empty; give at least one visible character",
                        }
                    },
                ]
            },
        ),
    },
    "assay.ai.v1.ListModelsResponse": {
        "page": (
            "One model, all on one page",
            {
                "models": [
                    {
                        "name": "sentiment",
                        "version": "v1.0.0",
                        "industry": "general",
                        "languages": ["zh"],
                        "labels": ["negative", "positive"],
                        "max_tokens": 512,
                        "stable": True,
                        "industry_default": False,
                    }
                ],
                "next_page_token": "",
            },
        ),
    },
    "assay.audit.v1.GetEventResponse": {"answered": ("An answered call", {"event": _EVENT, "index": "4711"})},
    "assay.audit.v1.ListEventsResponse": {
        "page": ("A page with more behind it", {"events": [_EVENT], "next_page_token": "CAEQAQ"})
    },
    "assay.review.v1.GetTaskResponse": {"open": ("A task that waits", {"task": _TASK})},
    "assay.review.v1.ListTasksResponse": {"page": ("The only task", {"tasks": [_TASK], "next_page_token": ""})},
}


def of(full_name: str) -> dict[str, Any]:
    """Returns a message's examples as OpenAPI has them; {} when there are none."""
    shown = EXAMPLES.get(full_name, {})
    return {name: {"summary": summary, "value": value} for name, (summary, value) in shown.items()}
