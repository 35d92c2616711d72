"""Every snippet of docs/clients.md does, against a real mesh, what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import sync_playwright

from tests.clients import page
from tests.clients.workshop import PROJECTS, Workshop, toolchain

LABEL = "lost_or_stolen_card"
BLANK = "text is empty; give at least one visible character"
BLANK_ZH = "text 为空；请至少输入一个可见字符"
UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

pytestmark = pytest.mark.timeout(900)


def check_client(printed: str, several: str) -> None:
    """Checks what each language's client prints: one call, one stream or batch, one error."""
    unary, *rest, error = printed.strip().splitlines()
    assert re.fullmatch(rf"unary {LABEL} v1\.\d+\.\d+ [01]\.\d\d {UUID7}", unary)
    expected = {"stream": [f"stream a {LABEL}", f"stream b {BLANK}"], "batch": [f"batch {LABEL}", f"batch {BLANK}"]}
    assert sorted(line.replace("requests[1].", "").replace("request.", "") for line in rest) == expected[several]
    assert re.fullmatch(rf"error (INVALID_ARGUMENT|InvalidArgument) TEXT_BLANK {BLANK_ZH}", error)


def test_every_snippet_is_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    shown = page.read()
    # What fetches packages is replaced by pinned projects; test_the_versions_of_the_page_are_the_pinned_ones covers it.
    names = [*shown.files, *(name for name in shown.commands if not name.endswith("-install"))]
    assert [name for name in names if f'"{name}"' not in source] == []


def test_the_versions_of_the_page_are_the_pinned_ones() -> None:
    shown = page.read().commands
    wanted = dict(re.findall(r"(\S+)@([\d.]+)", shown["typescript-install"]))
    lock = json.loads((PROJECTS / "typescript" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for name, version in wanted.items():
        pinned = lock[f"node_modules/{name}"]["version"]
        assert pinned == version or pinned.startswith(f"{version}."), name
    modules = (PROJECTS / "go" / "go.mod").read_text(encoding="utf-8")
    for path, version in re.findall(r"(\S+)@(v[\d.]+)", shown["go-install"]):
        module = path.replace("/cmd/protoc-gen-go", "") if path.endswith("/protoc-gen-go") else path
        assert f"{module} {version}" in modules, path


def test_no_lock_file_names_a_registry() -> None:
    assert "resolved" not in (PROJECTS / "typescript" / "package-lock.json").read_text(encoding="utf-8")


def test_curl(public_address: str) -> None:
    toolchain("curl")
    curl = Workshop("curl", public_address)
    answer = json.loads(curl.run("curl"))
    assert answer["label"] == LABEL
    assert re.fullmatch(UUID7, answer["audit_id"])
    results = json.loads(curl.run("curl-batch"))["results"]
    assert results[0]["response"]["label"] == LABEL
    assert results[1]["error"]["code"] == 3
    refused = json.loads(curl.run("curl-error"))
    assert (refused["code"], refused["message"]) == (3, BLANK)
    details = {detail["@type"].rpartition(".")[2]: detail for detail in refused["details"]}
    assert details["ErrorInfo"]["reason"] == "TEXT_BLANK"
    assert details["LocalizedMessage"]["message"] == BLANK_ZH
    assert details["BadRequest"]["field_violations"][0]["field"] == "text"


def test_grpcurl(public_address: str) -> None:
    grpcurl = Workshop("grpcurl", public_address)
    listed = grpcurl.run("grpcurl-list").split()
    assert {"assay.ai.v1.AIService", "grpc.health.v1.Health"} <= set(listed)
    assert any(name.startswith("grpc.reflection.") for name in listed)
    assert json.loads(grpcurl.run("grpcurl"))["label"] == LABEL
    streamed = grpcurl.run("grpcurl-stream")
    assert LABEL in streamed
    assert "TEXT_BLANK" in streamed
    refused = grpcurl.run("grpcurl-error", expected=64 + 3)
    assert "TEXT_BLANK" in refused
    assert BLANK_ZH in refused


def test_python(public_address: str) -> None:
    toolchain("curl")
    python = Workshop("python", public_address)
    python.run("contract")
    python.build("python-generate", "assay.binpb")
    python.write("client.py")
    check_client(python.run("python"), "stream")


def test_go(public_address: str) -> None:
    toolchain("go", "curl")
    go = Workshop("go", public_address)
    # Without cgo no C compiler is needed; without optimising, compiling with nothing cached takes a third less.
    flags = "'-gcflags=all=-N -l' '-ldflags=-s -w'"
    go.environment |= {"GOBIN": str(go.folder / "bin"), "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": flags}
    go.environment["PATH"] = f"{go.folder / 'bin'}{os.pathsep}{go.environment['PATH']}"
    go.copy("go.mod", "go.sum")
    go.install("go install tool && go mod download", "go.mod", "go.sum")
    go.run("contract")
    go.build("go-generate", "assay.binpb")
    go.write("main.go")
    check_client(go.run("go"), "stream")


def test_typescript(public_address: str) -> None:
    typescript = _typescript(public_address)
    typescript.write("client.ts")
    check_client(typescript.run("typescript"), "stream")


def test_grpc_web(public_address: str) -> None:
    check_client(_web(public_address).run("web"), "batch")


def test_grpc_web_in_a_browser(public_address: str) -> None:
    """From another origin: the snippet's page and its script as they are."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("not installed: chromium")
    check_client(_shown_by(browser, _web(public_address).folder), "batch")


def _web(address: str) -> Workshop:
    web = _typescript(address)
    web.write("web.ts", "index.html")
    web.run("web-bundle")
    return web


def _shown_by(browser: str, folder: Path) -> str:
    """Opens index.html of `folder` in a browser without a window; returns the page's lines once the last is there."""
    handler = partial(_QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            return _lines(browser, f"http://127.0.0.1:{server.server_port}/index.html")
        finally:
            server.shutdown()
            thread.join()


def _lines(browser: str, address: str) -> str:
    switches = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=switches, chromium_sandbox=False)
        try:
            tab = chromium.new_page()
            tab.goto(address)
            tab.wait_for_function("/^error /m.test(document.body.innerText)", timeout=60_000)
            return tab.inner_text("body")
        finally:
            chromium.close()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing: pytest's output is for tests."""


def _typescript(address: str) -> Workshop:
    toolchain("node", "npm", "curl")
    typescript = Workshop("typescript", address)
    typescript.copy("package.json", "package-lock.json")
    typescript.install("npm ci --no-audit --no-fund", "package.json", "package-lock.json")
    typescript.run("contract")
    typescript.build("typescript-generate", "assay.binpb")
    return typescript
