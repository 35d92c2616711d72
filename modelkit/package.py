"""Bundles on disk: manifests with the hash of every file, and model cards."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

MANIFEST = "manifest.json"


def head_bytes(weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> bytes:
    """The safetensors file of a head: `weight` [C, H] and `bias` [C], float32."""
    tensors = {
        "weight": np.ascontiguousarray(weight, dtype=np.float32),
        "bias": np.ascontiguousarray(bias, dtype=np.float32),
    }
    return save(tensors)


def write_bundle(models: Path, manifest: Mapping[str, Any], contents: Mapping[str, bytes]) -> Path:
    """Write `<name>/v<version>/` anew, replacing what was there; returns the folder.

    The manifest gets `schema` and `files`; keys are sorted, so that the same content gives the same bytes.
    """
    folder = models / str(manifest["name"]) / f"v{manifest['version']}"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    files: dict[str, dict[str, Any]] = {}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    whole = {"schema": 1, **manifest, "files": files}
    text = json.dumps(whole, ensure_ascii=False, sort_keys=True, indent=2, allow_nan=False)
    (folder / MANIFEST).write_bytes((text + "\n").encode())
    return folder


def total_bytes(models: Path) -> int:
    """Size of everything below `models`."""
    return sum(path.stat().st_size for path in models.rglob("*") if path.is_file())
