"""REST, gRPC-Web, CORS, static files and Envoy's own errors: with the application inside, and in front of grpc.aio."""

from __future__ import annotations

import base64
import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.kernel.conftest import Served

JSON = {"content-type": "application/json"}


def info(answer: httpx.Response) -> dict[str, Any]:
    """Holds an error to the one shape and returns its ErrorInfo."""
    assert answer.headers["content-type"].startswith("application/json"), answer.text
    body = answer.json()
    assert set(body) == {"code", "message", "details"}
    infos = [detail for detail in body["details"] if detail["@type"].endswith("google.rpc.ErrorInfo")]
    assert len(infos) == 1
    assert infos[0]["domain"] == "assay"
    found: dict[str, Any] = infos[0]
    return found


# REST


def test_post(http: httpx.Client) -> None:
    answer = http.post("/v1/probe/echo", json={"text": "你好"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["text"] == "你好"
    # Names as in the proto, and fields at their default are there too.
    assert (body["confidence"], body["empty"]) == (0, "")


def test_post_as_curl_sends_it(http: httpx.Client) -> None:
    answer = http.post(
        "/v1/probe/echo", content=b'{"text": "x"}', headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.json()["text"] == "x"


def test_get_with_path_and_query(http: httpx.Client) -> None:
    body = http.get("/v1/probe/items/some%20thing?page_size=7").json()
    assert (body["text"], body["metadata"]) == ("some thing", {"page_size": "7"})


def test_proxied_service(http: httpx.Client) -> None:
    assert http.get("/v1/elsewhere/x").json()["text"] == "elsewhere x"


def test_http2(edge: Served) -> None:
    with httpx.Client(base_url=edge.url, http1=False, http2=True) as client:
        assert client.post("/v1/probe/echo", json={"text": "two"}).json()["text"] == "two"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"3",
        b'"text"',
        b'{"text": 3}',
        b'{"text": {"a": 1}}',
        b'{"text": ["a"]}',
        b'{"text": "a" "b"}',
        b'{"text": "a"} {}',
        b'{"text": "a", "text": "b"}',
        b'{"nope": "a"}',
        b'{"text": "canary", "Text": "b"}',
        b'{"text": "\xff"}',
        b'{"text": "a\nb"}',
        b'{"count": 1.5}',
        b'{"count": 99999999999}',
        b"{'text': 'a'}",
        b'{"text": NaN}',
        b'{"text": "a",}',
        b'{"text": "a"}}',
        b'{"nope": ' + b"[" * 100_000,
        b"[" * 100_000,
        b'{"text": "unfinished',
        b"\x00\x01",
    ],
)
def test_malformed_json(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/v1/probe/echo", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["code"] == 3
    assert info(answer)["reason"] == "MESSAGE_MALFORMED"
    assert "canary" not in answer.text


@pytest.mark.parametrize("query", ["nope=1", "page_size=x", "page_size=1&nope=2"])
def test_malformed_query(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/v1/probe/items/a?{query}")
    assert answer.status_code == 400
    assert info(answer)["reason"] == "MESSAGE_MALFORMED"


def test_errors_of_the_domain(http: httpx.Client) -> None:
    answer = http.post("/v1/probe/echo", json={"act": "reason"}, headers={"accept-language": "zh"})
    assert answer.status_code == 400
    assert answer.json()["message"] == "text is 613 tokens; m v1 accepts 512"
    assert info(answer)["reason"] == "TEXT_TOO_LONG"
    assert "最多接受 512 个" in answer.text
    missing = http.get("/v1/probe/items/missing")
    assert (missing.status_code, info(missing)["reason"]) == (404, "EVENT_UNKNOWN")


def test_a_bug_leaks_nothing(http: httpx.Client) -> None:
    answer = http.post("/v1/probe/echo", json={"act": "bug", "text": "canary"})
    assert (answer.status_code, info(answer)["reason"]) == (500, "INTERNAL")
    assert "canary" not in answer.text


def test_language_of_envoys_own_errors(http: httpx.Client) -> None:
    answer = http.post("/v1/probe/echo", content=b"{", headers={**JSON, "accept-language": "zh-CN,zh;q=0.9"})
    assert "无法读取 request" in answer.text


@pytest.mark.parametrize("path", ["/nope", "/v1/probe/nope", "/v1/probe/echo", "/docs/nope"])
def test_unknown_path(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    assert info(answer)["metadata"]["method"] == path


def test_too_large(http: httpx.Client) -> None:
    answer = http.post("/v1/probe/echo", json={"text": "x" * 5_000_000})
    assert answer.status_code == 413
    assert info(answer)["reason"] == "MESSAGE_TOO_LARGE"


def test_headers_too_large(http: httpx.Client) -> None:
    answer = http.get("/v1/probe/items/a", headers={"x-long": "v" * 40_000})
    assert answer.status_code == 431
    assert info(answer)["reason"] == "FIELD_INVALID"


def test_health_over_http(http: httpx.Client) -> None:
    assert http.get("/healthz").status_code == 200


# What Envoy answered alone is logged, and without texts


def test_edge_log(edge: Served, http: httpx.Client) -> None:
    http.post("/v1/probe/echo?q=canary", content=b'{"canary', headers={**JSON, "x-assay-caller": "someone"})
    http.post("/v1/probe/echo", json={"act": "reason"})
    end = time.monotonic() + 30
    while not (lines := [line for line in edge.edge_log() if line["caller"] == "someone"]):
        assert time.monotonic() < end, edge.edge_log()
        time.sleep(0.1)
    line = lines[0]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/probe/echo", 400)
    assert line["request_id"]
    assert "canary" not in json.dumps(edge.edge_log())
    assert all(line["status"] >= 400 for line in edge.edge_log())


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"text": ', 400), (b'{"text": "a", "nope": 1}', 400), (b"x" * 5_000_000, 413)]
)
def test_a_refusal_is_written_before_it_leaves(edge: Served, http: httpx.Client, body: bytes, status: int) -> None:
    names = {"x-assay-caller": f"first {status} {len(body) % 100}", "x-assay-tenant": 'a"b'}
    answer = http.post("/v1/probe/echo?q=canary", content=body, headers={**JSON, **names})
    assert answer.status_code == status
    (line,) = [line for line in edge.edge_log() if line["caller"] == names["x-assay-caller"]]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/probe/echo", status)
    assert (line["tenant"], line["request_bytes"]) == ("[hidden]", len(body))
    assert datetime.fromisoformat(line["time"]).timestamp() == pytest.approx(time.time(), abs=60)
    assert (line["fault"] is None) == (status == 413)
    # Envoy's own log, which comes later, does not repeat it: the line of a call that it alone logs comes without.
    http.get("/v1/probe/items/a", headers={"x-long": "v" * 40_000})
    end = time.monotonic() + 30
    while not [line for line in edge.edge_log() if line["status"] == 431]:
        assert time.monotonic() < end, edge.edge_log()
        time.sleep(0.05)
    assert len([line for line in edge.edge_log() if line["caller"] == names["x-assay-caller"]]) == 1


def test_a_refusal_that_cant_be_written_is_not_given(edge: Served, http: httpx.Client) -> None:
    refuse = partial(http.post, "/v1/probe/echo", content=b'{"text": ', headers=JSON)
    assert refuse().status_code == 400
    before = len((edge.folder / "edge" / "edge.jsonl").read_bytes())
    with nearly_full_disk(edge, before + 50):
        answers = [refuse(), refuse()]
    for answer in answers:
        assert (answer.status_code, info(answer)["reason"]) == (503, "AUDIT_UNAVAILABLE")
    assert refuse().status_code == 400
    written = (edge.folder / "edge" / "edge.jsonl").read_bytes()[before:].splitlines()
    # What was cut stands alone, and the next line is whole.
    assert len(written) == 2
    assert len(written[0]) == 50
    assert json.loads(written[1])["status"] == 400
    (edge.folder / "edge" / "edge.jsonl").write_bytes(b"")


@contextmanager
def nearly_full_disk(edge: Served, size: int) -> Iterator[None]:
    """Lets the host and Envoy write no file beyond so many bytes."""
    pids = [edge.process.pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            pids += [int(stat.parent.name)] if parent == edge.process.pid else []
    before = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids]
    try:
        for pid, (_, hard) in zip(pids, before, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
        yield
    finally:
        for pid, limits in zip(pids, before, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


# Static files


def test_static_files(http: httpx.Client) -> None:
    for path in ("/docs", "/docs/", "/docs/index.html"):
        answer = http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "<title>docs" in answer.text
    assert http.get("/docs/page.js").headers["content-type"] == "text/javascript; charset=utf-8"
    assert http.get("/docs/../edge/envoy.json").status_code == 404
    assert http.head("/docs").content == b""


# Browsers


def test_cors(http: httpx.Client) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-grpc-web",
    }
    for path in ("/v1/probe/echo", "/probe.v1.ProbeService/Echo"):
        preflight = http.options(path, headers={**asked, "origin": "http://localhost:5173"})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "http://localhost:5173"
        assert "x-grpc-web" in preflight.headers["access-control-allow-headers"]
    answer = http.post("/v1/probe/echo", json={"text": "x"}, headers={"origin": "http://127.0.0.1:5173"})
    assert answer.headers["access-control-allow-origin"] == "http://127.0.0.1:5173"
    assert "grpc-status" in answer.headers["access-control-expose-headers"]
    other = http.post("/v1/probe/echo", json={"text": "x"}, headers={"origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in other.headers


def grpc_web(http: httpx.Client, method: str, message: bytes, text: bool) -> tuple[list[bytes], dict[str, str]]:
    """Calls as a browser does; returns the messages and the trailers."""
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    body = b"\0" + len(message).to_bytes(4, "big") + message
    answer = http.post(
        f"/probe.v1.ProbeService/{method}",
        content=base64.b64encode(body) if text else body,
        headers={"content-type": kind, "accept": kind, "x-grpc-web": "1"},
    )
    assert answer.status_code == 200
    content = answer.content
    if text:
        # Pieces are padded on their own.
        pieces = content.replace(b"=", b"= ").replace(b"= =", b"==").split()
        content = b"".join(base64.b64decode(piece) for piece in pieces)
    messages, trailers = [], {}
    if "grpc-status" in answer.headers:
        trailers = dict(answer.headers)
    while content:
        flag, length = content[0], int.from_bytes(content[1:5], "big")
        data, content = content[5 : 5 + length], content[5 + length :]
        if flag & 0x80:
            trailers = dict(line.split(":", 1) for line in data.decode().strip().split("\r\n"))
        else:
            messages.append(data)
    return messages, {key: value.strip() for key, value in trailers.items()}


@pytest.mark.parametrize("text", [False, True])
def test_grpc_web(http: httpx.Client, pb: Any, text: bool) -> None:
    messages, trailers = grpc_web(http, "Echo", pb.EchoRequest(text="web").SerializeToString(), text)
    assert trailers["grpc-status"] == "0"
    assert [pb.EchoResponse.FromString(message).text for message in messages] == ["web"]
    messages, trailers = grpc_web(http, "Split", pb.EchoRequest(count=3).SerializeToString(), text)
    assert trailers["grpc-status"] == "0"
    assert [pb.EchoResponse.FromString(message).text for message in messages] == ["0", "1", "2"]


@pytest.mark.parametrize("text", [False, True])
def test_grpc_web_error(http: httpx.Client, pb: Any, text: bool) -> None:
    messages, trailers = grpc_web(http, "Echo", pb.EchoRequest(act="reason").SerializeToString(), text)
    assert messages == []
    assert trailers["grpc-status"] == "3"
    assert trailers["grpc-message"] == "text is 613 tokens; m v1 accepts 512"
    assert trailers["grpc-status-details-bin"]
