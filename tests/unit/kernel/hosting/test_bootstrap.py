"""Envoy's configuration, as far as it can be judged without Envoy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from services.kernel.faults import Fault
from services.kernel.hosting import bootstrap, rest, static
from services.kernel.hosting.edge import Edge
from services.kernel.hosting.envoy import choose_host

DESCRIPTORS = Path(__file__).parents[4] / "protos" / "gen" / "assay.binpb"
SERVICES = ("assay.ai.v1.AIService", "assay.audit.v1.AuditService", "assay.review.v1.ReviewService")


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("docs")
    (tmp_path / "openapi.json").write_text("{}")
    return Edge(
        listen="127.0.0.1:0",
        folder=tmp_path / "edge",
        descriptors=DESCRIPTORS,
        services=SERVICES,
        proxied={"assay.audit.v1.AuditService": "127.0.0.1:1", "assay.review.v1.ReviewService": "localhost:2"},
        static={"/docs": tmp_path / "docs", "/openapi.json": tmp_path / "openapi.json"},
    )


def http(config: dict[str, Any]) -> dict[str, Any]:
    (listener,) = config["static_resources"]["listeners"]
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def test_either_inside_or_before(edge: Edge) -> None:
    with pytest.raises(ValueError, match="either"):
        bootstrap.bootstrap(edge)
    inside = [f["name"] for f in http(bootstrap.bootstrap(edge.inside("a:b")))["http_filters"]]
    before = [f["name"] for f in http(bootstrap.bootstrap(edge.before("127.0.0.1:3")))["http_filters"]]
    assert inside[-2:] == ["inside", "envoy.filters.http.router"]
    assert "inside" not in before
    json.dumps(bootstrap.bootstrap(edge.inside("a:b")))


def test_clusters(edge: Edge) -> None:
    clusters = {c["name"]: c for c in bootstrap.bootstrap(edge.before("[::1]:3"))["static_resources"]["clusters"]}
    assert clusters["assay.audit.v1.AuditService"]["type"] == "STATIC"
    assert clusters["assay.review.v1.ReviewService"]["type"] == "STRICT_DNS"
    endpoint = clusters["application"]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"] == {"address": "::1", "port_value": 3}


def test_proxied_services_and_files_pass_the_application_by(edge: Edge) -> None:
    routes = http(bootstrap.bootstrap(edge.inside("a:b")))["route_config"]["virtual_hosts"][0]["routes"]

    def passes(path: str, method: str) -> bool:
        for route in routes:
            match = route["match"]
            wanted = next((h for h in match.get("headers", ()) if h["name"] == ":method"), None)
            pattern = wanted["string_match"] if wanted else {}
            if any(header["name"] == "content-type" for header in match.get("headers", ())):
                continue
            if "exact" in pattern and pattern["exact"] != method:
                continue
            if (
                match.get("path") == path
                or path.startswith(match.get("prefix", "\0"))
                or ("safe_regex" in match and re.fullmatch(match["safe_regex"]["regex"], path))
            ):
                return "inside" in route.get("typed_per_filter_config", {})
        raise AssertionError(path)

    assert passes("/assay.audit.v1.AuditService/ListEvents", "POST")
    assert passes("/v1/audit/events", "GET")
    assert passes("/v1/review/tasks/0197", "GET")
    assert passes("/docs", "GET")
    assert passes("/docs/nope", "GET")
    assert not passes("/v1/ai-services/text-classification", "POST")
    assert not passes("/nope", "GET")


def test_descriptors_hold_the_error_details(edge: Edge) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(bootstrap.descriptors(edge))
    names = [file.name for file in files.file]
    assert "google/rpc/error_details.proto" in names
    assert len(names) == len(set(names))


def test_rules() -> None:
    rules = rest.rules(DESCRIPTORS.read_bytes(), SERVICES)
    found = {(rule.method, rule.path): rule for rule in rules}
    single = found["POST", re.escape("/v1/ai-services/text-classification")]
    assert (single.service, single.body) == ("assay.ai.v1.AIService", "assay.ai.v1.TextRequest")
    assert found["POST", re.escape("/v1/ai-services/text-classification:batch")].body
    assert single.query is None
    one = found["GET", "/v1/audit/events/[^/]+"]
    assert (one.body, one.query) == (None, "assay.audit.v1.GetEventRequest")


def test_script_knows_the_fields_in_both_spellings() -> None:
    script = rest.script(DESCRIPTORS.read_bytes(), "assay.ai.v1.BatchClassifyTextRequest", None)
    shapes = given(script, "shapes")
    assert '["message"] = "assay.ai.v1.TextRequest"' in shapes
    assert '["model_version"] = {["name"] = "model_version", ["kind"] = "string"' in shapes
    assert '["modelVersion"] = {["name"] = "model_version", ["kind"] = "string"' in shapes
    assert '["known"] = "text, model_version, model, industry, request_id"' in shapes


def test_script_knows_the_parameters() -> None:
    script = rest.script(DESCRIPTORS.read_bytes(), None, "assay.review.v1.ListTasksRequest")
    assert (given(script, "shapes"), given(script, "has_body")) == ("{}", "false")
    parameters = given(script, "parameters")
    assert '["TASK_STATE_OPEN"] = true' in parameters
    assert '["low"] = -2147483648, ["high"] = 2147483647' in parameters
    assert '["pageSize"]' in parameters
    none = rest.script(DESCRIPTORS.read_bytes(), None, None)
    assert given(none, "parameters") == '{["known"] = "", ["fields"] = {}}'


def test_script_has_the_words_for_all_it_says() -> None:
    script = rest.script(DESCRIPTORS.read_bytes(), None, None)
    used = {match[1] for match in re.finditer(r'fail\("(\w+)"', script)}
    assert used
    assert used <= {fault.name for fault in Fault}
    for name in used:
        assert f'["{name}"] = {{["en"] = ' in given(script, "faults")
    wanted = {match[1] for match in re.finditer(r'(?:want\(|skip\(.*, )"(\w+)"', script)}
    assert {"name", "colon", "ending"} <= wanted
    for word in wanted:
        assert f'["{word}"] = {{["en"] = ' in given(script, "words")


def given(script: str, name: str) -> str:
    """Returns what the script is given under a name, as Lua."""
    (line,) = [line for line in script.splitlines() if line.startswith(f"local {name} = ")]
    return line.partition(" = ")[2]


def test_static_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("index.html", "sub/index.html", "sub/a.js", ".secret"):
        (tmp_path / name).write_text("x")
    paths = {route["match"].get("path") for route in static.routes({"/docs": tmp_path})}
    assert paths == {"/docs", "/docs/", "/docs/index.html", "/docs/sub", "/docs/sub/", "/docs/sub/index.html"} | {
        "/docs/sub/a.js",
        None,
    }


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(static.MAX_FILE_BYTES + 1)
    with pytest.raises(ValueError, match="larger"):
        static.routes({"/docs": tmp_path})


def test_choose_host() -> None:
    assert choose_host("aio") == ("aio", "asked for")
    assert choose_host("auto").host in ("envoy", "aio")
    with pytest.raises(ValueError, match="must be auto"):
        choose_host("nginx")


def test_choose_host_without_a_shared_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.kernel.hosting.envoy._environment", dict)
    choice = choose_host("auto")
    assert choice.host == "aio"
    assert "libpython" in choice.why
    with pytest.raises(ValueError, match="libpython"):
        choose_host("envoy")
