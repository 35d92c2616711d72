"""The commands, with a fake AIService behind them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from assay.ai.v1 import ai_pb2, ai_pb2_grpc
from click.testing import CliRunner
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from cli.classify import classify
from cli.main import COMMANDS, assay, main
from tests.unit.cli.serving import serving


class FakeAI(ai_pb2_grpc.AIServiceServicer):
    """Answers "card" to everything but a blank text, which it refuses as the gateway does."""

    async def ClassifyText(self, request: ai_pb2.TextRequest, context: grpc.aio.ServicerContext) -> object:
        if request.text.strip():
            return ai_pb2.ClassificationResponse(
                label="card", confidence=0.5, model="banking", model_version="v1.0.0", audit_id="a", review_task_id="t"
            )
        status = status_pb2.Status(code=3, message="text is empty; give at least one visible character")
        status.details.add().Pack(
            error_details_pb2.ErrorInfo(reason="TEXT_BLANK", domain="assay", metadata={"field": "text"})
        )
        await context.abort_with_status(rpc_status.to_status(status))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(partial(ai_pb2_grpc.add_AIServiceServicer_to_server, FakeAI())) as started:
        yield started


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `assay` with arguments and returns its exit code, standard output and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["assay", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call


def test_help_names_every_command_without_importing_it() -> None:
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cli.main", "--help"], capture_output=True, text=True, check=True
    )
    assert all(name in answer.stdout for name in COMMANDS)
    assert " grpc" not in answer.stderr
    assert " rich" not in answer.stderr


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("models", "bench")])
def test_every_command_has_help(name: str) -> None:
    answer = CliRunner().invoke(assay, [name, "--help"])
    assert answer.exit_code == 0
    assert answer.output.startswith("Usage:")


def test_classify_prints_the_answer(address: str) -> None:
    answer = CliRunner().invoke(classify, ["I lost it", "--address", address])
    assert answer.exit_code == 0, answer.output
    assert answer.output.splitlines()[0] == "card  0.500  banking v1.0.0"
    assert "a person" in answer.output


def test_classify_reads_standard_input(address: str) -> None:
    answer = CliRunner().invoke(classify, ["-", "--address", address, "--json"], input="我的卡丢了")
    assert json.loads(answer.output)["label"] == "card"
    answer = CliRunner().invoke(classify, ["-", "--address", address], input=b"\xff\xfe")
    assert answer.exit_code == 1
    assert "not UTF-8" in answer.output


def test_a_refusal_is_readable_and_exits_1(address: str, run: Run) -> None:
    code, _, words = run("classify", " ", "--address", address)
    assert code == 1
    assert words == "assay: text is empty; give at least one visible character (TEXT_BLANK, INVALID_ARGUMENT)\n"
    code, printed, _ = run("classify", " ", "--address", address, "--json")
    assert code == 1
    error = json.loads(printed)["error"]
    assert (error["code"], error["reason"], error["metadata"]) == ("INVALID_ARGUMENT", "TEXT_BLANK", {"field": "text"})


def test_no_mesh_is_said_clearly(tmp_path: Path, run: Run) -> None:
    for command in (["status"], ["classify", "x"], ["audit", "list"], ["review", "list"]):
        code, _, words = run(*command, "--data", str(tmp_path))
        assert code == 1
        assert words == f"assay: no mesh runs in {tmp_path}; start one with: assay up\n"


def test_nobody_at_the_address_is_said_clearly(run: Run) -> None:
    for way in ([], ["--rest"]):
        code, _, words = run("classify", "x", "--address", "127.0.0.1:1", *way)
        assert code == 1
        assert "nothing answers at 127.0.0.1:1" in words


def test_wrong_usage_exits_2(run: Run) -> None:
    assert run("classify")[0] == 2
    assert run("nothing")[0] == 2
    assert run("up", "--port", "70000")[0] == 2
