"""What all tests share: fixtures by name, and the rule that nothing may be skipped where everything is installed."""

from __future__ import annotations

import os

import pytest

from tests.fixtures.mesh import mesh

__all__ = ["mesh"]

_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _skipped and exitstatus == pytest.ExitCode.OK and os.environ.get("ASSAY_FAIL_ON_SKIP"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped and os.environ.get("ASSAY_FAIL_ON_SKIP"):
        terminalreporter.write_line(f"{len(_skipped)} skipped, and nothing may be skipped here", red=True)
