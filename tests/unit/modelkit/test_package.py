"""Bundles that modelkit writes are bundles that the classifier reads."""

import json
from pathlib import Path

import numpy as np
import pytest

from modelkit import e5s1, package, prune
from services.classifier.bundle import load_catalogue
from services.classifier.manifest import BundleError
from tests.unit.modelkit.e5s1_image import image


def write_both(models: Path) -> None:
    source = e5s1.parse(image()[0])
    tokenizer = prune.pruned_tokenizer(source, np.arange(len(source.pieces)))
    common = {"version": "1.0.0", "licence": "MIT", "max_tokens": 512}
    encoder = {"name": "encoder", "kind": "encoder", "dimension": 2, "inputs": ["i", "m"], "output": "o", **common}
    contents = {"model.onnx": b"graph", "tokenizer.json": prune.to_json(tokenizer).encode(), "CARD.md": b"# card"}
    package.write_bundle(models, encoder, contents)
    head = {"name": "triage", "kind": "head", "industry": "medical", "task": "t", "languages": ["zh"], **common}
    head |= {"labels": ["内科", "外科"], "temperature": 0.5, "encoder": {"name": "encoder", "version": "1.0.0"}}
    weights = package.head_bytes(np.eye(2, dtype=np.float64), np.zeros(2))
    package.write_bundle(models, head, {"head.safetensors": weights})


def test_written_bundles_verify_and_classify(tmp_path: Path) -> None:
    write_both(tmp_path)
    catalogue = load_catalogue(tmp_path)
    head = catalogue.heads[0]
    assert head.labels == ("内科", "外科")
    assert head.classify(np.array([[0.0, 1.0]], dtype=np.float32)).argmax() == 1
    assert catalogue.encoders[0].tokenizer.encode_batch(["银行卡"])[0].tolist() == [0, 4, 12, 11, 2]


def test_manifest_is_sorted_readable_and_reproducible(tmp_path: Path) -> None:
    write_both(tmp_path)
    path = tmp_path / "triage" / "v1.0.0" / "manifest.json"
    text = path.read_text(encoding="utf-8")
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert "内科" in text
    write_both(tmp_path)
    assert path.read_text(encoding="utf-8") == text


def test_writing_replaces_what_was_there(tmp_path: Path) -> None:
    write_both(tmp_path)
    stale = tmp_path / "triage" / "v1.0.0" / "stale.bin"
    stale.write_bytes(b"x")
    with pytest.raises(BundleError, match="stale"):
        load_catalogue(tmp_path)
    write_both(tmp_path)
    assert load_catalogue(tmp_path).heads
    assert package.total_bytes(tmp_path) == sum(p.stat().st_size for p in tmp_path.rglob("*.*") if p.is_file())
