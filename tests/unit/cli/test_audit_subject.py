"""`assay audit subject` says what the gateway writes for a person."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.audit import audit
from services.gateway.tenants import Tenants

KEY = bytes(range(32))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "pseudonym.key"
    file.write_bytes(KEY)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("tenant", ["default", "acme"])
def test_it_is_what_the_gateway_writes(key_file: Path, tenant: str) -> None:
    arguments = ["subject", "--tenant", tenant, "--key-file", str(key_file), "--json"]
    answer = CliRunner().invoke(audit, arguments, input="patient-4711\n")
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.output) == {"tenant": tenant, "subject": Tenants(KEY).of(tenant).subject("patient-4711")}


def test_nobody_and_no_key_are_said(key_file: Path) -> None:
    arguments = ["subject", "--key-file", str(key_file)]
    nobody = CliRunner().invoke(audit, arguments, input="\n")
    assert nobody.exit_code == 1
    assert "no name" in nobody.output
    key_file.chmod(0o644)
    assert "give it mode 0600" in CliRunner().invoke(audit, arguments, input="x").output


def test_no_subject_is_no_pseudonym() -> None:
    assert Tenants(KEY).of("default").subject("") == ""
