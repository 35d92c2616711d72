"""What the public port answers over REST fits the OpenAPI document that it serves, errors included."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.fixtures.mesh import RunningMesh

DOCUMENT = "urn:assay:openapi"
CLASSIFY = "/v1/ai-services/text-classification"
BATCH = f"{CLASSIFY}:batch"
MODELS, EVENTS, TASKS = "/v1/ai-services/models", "/v1/audit/events", "/v1/review/tasks"

REFUSED = [
    ("POST", CLASSIFY, {"json": {"text": " "}}, 400),
    ("POST", CLASSIFY, {"json": {"text": "hi", "colour": "red"}}, 400),
    ("POST", CLASSIFY, {"json": {"text": ["hi"]}}, 400),
    ("POST", CLASSIFY, {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
    ("POST", CLASSIFY, {"content": b'{"text": "\xff"}', "headers": {"content-type": "application/json"}}, 400),
    ("POST", CLASSIFY, {"json": {"text": "hi", "model_version": "latest"}}, 400),
    ("POST", CLASSIFY, {"json": {"text": "hi", "model": "bankin"}}, 404),
    ("POST", CLASSIFY, {"json": {"text": "hi", "model": "banking", "model_version": "v9"}}, 404),
    ("POST", CLASSIFY, {"json": {"text": "hi", "model": "banking", "industry": "medical"}}, 400),
    ("POST", CLASSIFY, {"json": {"text": "hi"}, "headers": {"grpc-timeout": "1n"}}, 504),
    ("POST", BATCH, {"json": {"requests": []}}, 400),
    ("POST", BATCH, {"json": {"requests": [{"text": "hi"}] * 257}}, 400),
    ("GET", MODELS, {"params": {"page_size": "-1"}}, 400),
    ("GET", MODELS, {"params": {"page_size": "ten"}}, 400),
    ("GET", EVENTS, {"params": {"page_token": "forged"}}, 400),
    ("GET", EVENTS, {"params": {"colour": "red"}}, 400),
    ("GET", f"{EVENTS}/none", {}, 404),
    ("GET", f"{TASKS}/none", {}, 404),
    ("GET", TASKS, {"params": {"state": "TASK_STATE_LOST"}}, 400),
]


Check = Callable[[httpx.Response], Any]


@pytest.fixture(scope="module")
def client(mesh: RunningMesh) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{mesh.address}", timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def check(client: httpx.Client) -> Check:
    """Checks an answer against what the served document says of its operation and status, and returns the answer."""
    openapi = client.get("/openapi.json").raise_for_status().json()
    resource = Resource.from_contents(openapi, default_specification=DRAFT202012)
    return partial(_check, openapi, Registry().with_resource(DOCUMENT, resource).crawl())


def _check(openapi: dict[str, Any], registry: Registry[Any], response: httpx.Response) -> Any:
    path, operation = next(
        (path, verbs[response.request.method.lower()])
        for path, verbs in openapi["paths"].items()
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), response.request.url.path)
        and response.request.method.lower() in verbs
    )
    assert str(response.status_code) in operation["responses"], f"{path} doesn't say {response.status_code}"
    declared = operation["responses"][str(response.status_code)]
    if "$ref" in declared:
        declared = openapi["components"]["responses"][declared["$ref"].rpartition("/")[2]]
    schema = {"$ref": DOCUMENT + declared["content"]["application/json"]["schema"]["$ref"]}
    assert response.headers["content-type"].partition(";")[0] == "application/json"
    answer = response.json()
    assert [error.message for error in Draft202012Validator(schema, registry=registry).iter_errors(answer)] == []
    return answer


def test_the_page_and_its_document_are_served(client: httpx.Client) -> None:
    for path in ("/docs", "/docs/"):
        page = client.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
    for asked in re.findall(r'(?:src|href)="(/[^"#]+)"', client.get("/docs").text):
        assert client.get(asked).status_code == 200, asked


def test_answers_fit(client: httpx.Client, check: Check) -> None:
    sure = {"text": "My card was stolen yesterday", "model": "banking"}
    answer = check(client.post(CLASSIFY, json=sure))
    assert answer["label"] == "lost_or_stolen_card"
    results = check(client.post(BATCH, json={"requests": [sure, {"text": " "}]}))["results"]
    assert [set(result) for result in results] == [{"response"}, {"error"}]
    assert len(check(client.get(MODELS))["models"]) == 4
    # The event arrives within moments; the test's own limit ends a wait in vain.
    while (event := client.get(f"{EVENTS}/{answer['audit_id']}")).status_code == 404:
        check(event)
    check(event)
    assert check(client.get(EVENTS, params={"page_size": 1}))["events"]
    check(client.get(TASKS, params={"page_size": 1, "state": "TASK_STATE_OPEN"}))


@pytest.mark.parametrize(("method", "path", "request_", "status"), REFUSED, ids=range(len(REFUSED)))
@pytest.mark.parametrize("language", ["en", "zh"])
def test_refusals_fit(
    client: httpx.Client,
    check: Check,
    method: str,
    path: str,
    request_: dict[str, Any],
    status: int,
    language: str,
) -> None:
    headers = {**request_.get("headers", {}), "accept-language": language}
    response = client.request(method, path, **{**request_, "headers": headers})
    assert response.status_code == status
    error = check(response)
    details = {detail["@type"].rpartition(".")[2]: detail for detail in error["details"]}
    assert details["ErrorInfo"]["domain"] == "assay"
    assert details["LocalizedMessage"]["locale"] == {"en": "en", "zh": "zh-CN"}[language]
    assert ("BadRequest" in details) == (status == 400)
