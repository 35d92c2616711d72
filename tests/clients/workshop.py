"""A folder in which one language's snippets are built and run. It stays, so that a second run builds nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.page import Page, read

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".assay-clients"
# The pinned projects of the languages whose packages are not in Assay's own environment.
PROJECTS = Path(__file__).resolve().parent
# Bounds the slowest command, compiling gRPC for Go, on a busy machine with nothing cached.
_SECONDS = 500


class Workshop:
    """Runs snippets of the page in `.assay-clients/<name>` against the mesh at `address` (host:port)."""

    def __init__(self, name: str, address: str) -> None:
        self.page: Page = read(address)
        self.folder = CACHE / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(_tools()), *os.environ["PATH"].split(os.pathsep)]),
        }

    def write(self, *names: str) -> None:
        """Writes files of the page, leaving alone what is already so."""
        for name in names:
            self._put(self.folder / name, self.page.files[name])

    def copy(self, *names: str) -> None:
        """Copies files of the pinned project."""
        for name in names:
            self._put(self.folder / name, (PROJECTS / self.folder.name / name).read_text(encoding="utf-8"))

    def install(self, command: str, *inputs: str) -> None:
        """Fetches packages with `command`, once for each content of `inputs`; skips the test when they can't be had."""
        if self._is_fresh("install", command, inputs):
            return
        done = self._shell(command)
        if done.returncode != 0:
            pytest.skip(f"can't fetch the packages of {self.folder.name}: {done.stderr.strip()[-400:]}")
        self._stamp("install", command, inputs)

    def build(self, name: str, *inputs: str) -> None:
        """Runs a command of the page that makes files, once for each content of `inputs`."""
        command = self.page.commands[name]
        if self._is_fresh(name, command, inputs):
            return
        done = self._shell(command)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        self._stamp(name, command, inputs)

    def run(self, name: str, expected: int = 0) -> str:
        """Runs a command of the page and returns what it printed, its errors too when another exit code is expected."""
        done = self._shell(self.page.commands[name])
        assert done.returncode == expected, f"{name}: exit {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if expected else "")

    def _shell(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def _put(self, path: Path, text: str) -> None:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

    def _is_fresh(self, name: str, command: str, inputs: tuple[str, ...]) -> bool:
        stamp = self.folder / f".{name}"
        return stamp.exists() and stamp.read_text(encoding="utf-8") == self._digest(command, inputs)

    def _stamp(self, name: str, command: str, inputs: tuple[str, ...]) -> None:
        (self.folder / f".{name}").write_text(self._digest(command, inputs), encoding="utf-8")

    def _digest(self, command: str, inputs: tuple[str, ...]) -> str:
        digest = hashlib.sha256(command.encode())
        for name in inputs:
            digest.update((self.folder / name).read_bytes())
        return digest.hexdigest()


def toolchain(*programs: str) -> Mapping[str, str]:
    """Returns where the programs are; skips the test when one of them is missing."""
    found = {program: shutil.which(program) for program in programs}
    if missing := [program for program, path in found.items() if path is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    return {program: path for program, path in found.items() if path is not None}


def _tools() -> Path:
    """Makes the folder of the programs that the page takes for granted: this Python, grpcurl, protoc."""
    folder = CACHE / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    scripts = {
        "python": f'exec "{sys.executable}" "$@"',
        "protoc": f'exec "{sys.executable}" -m grpc_tools.protoc "$@"',
        "grpcurl": f'exec "{Path(sys.executable).parent / "grpcurl"}" "$@"',
    }
    for name, line in scripts.items():
        path, text = folder / name, f"#!/bin/sh\n{line}\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755)
    return folder
