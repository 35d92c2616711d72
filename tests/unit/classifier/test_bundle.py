"""Bundles: reading, verification and the arithmetic of a head."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from tokenizers import Tokenizer as HfTokenizer
from tokenizers import processors
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from services.classifier.bundle import Catalogue, load_catalogue
from services.classifier.manifest import BundleError, Version

DIMENSION = 4


def tokenizer_json() -> bytes:
    tokenizer = HfTokenizer(WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "card": 4}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding()
    return tokenizer.to_str().encode()


def write_bundle(folder: Path, manifest: dict[str, Any], contents: dict[str, bytes]) -> Path:
    bundle = folder / manifest["name"] / f"v{manifest['version']}"
    bundle.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, data in contents.items():
        (bundle / name).write_bytes(data)
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (bundle / "manifest.json").write_text(json.dumps({"schema": 1, "files": files, **manifest}, ensure_ascii=False))
    return bundle


def write_encoder(folder: Path, **changes: Any) -> Path:
    manifest = {
        "name": "encoder",
        "version": "1.0.0",
        "kind": "encoder",
        "licence": "MIT",
        "max_tokens": 8,
        "dimension": DIMENSION,
        "inputs": ["input_ids", "attention_mask"],
        "output": "embedding",
    }
    return write_bundle(folder, manifest | changes, {"model.onnx": b"onnx", "tokenizer.json": tokenizer_json()})


def write_head(folder: Path, *, tensors: dict[str, Any] | None = None, **changes: Any) -> Path:
    manifest = {
        "name": "banking",
        "version": "1.0.0",
        "kind": "head",
        "licence": "CC BY 4.0",
        "encoder": {"name": "encoder", "version": "1.0.0"},
        "industry": "finance",
        "task": "intent",
        "languages": ["en"],
        "labels": ["lost", "挂号"],
        "max_tokens": 8,
        "temperature": 0.5,
    }
    if tensors is None:
        weight = np.arange(2 * DIMENSION, dtype=np.float32).reshape(2, DIMENSION) / 10
        tensors = {"weight": weight, "bias": np.array([0.1, -0.1], dtype=np.float32)}
    return write_bundle(folder, manifest | changes, {"head.safetensors": save(tensors)})


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    write_encoder(tmp_path)
    write_head(tmp_path)
    write_head(tmp_path, version="1.10.0")
    write_head(tmp_path, version="1.2.0")
    return load_catalogue(tmp_path)


def test_versions_are_numbers_and_not_text() -> None:
    assert str(Version.parse("v1.20.3")) == "1.20.3"
    assert Version.parse("1.10.0") > Version.parse("1.9.9")
    assert sorted([Version(2, 0, 0), Version(1, 2, 3)])[0] == Version(1, 2, 3)


@pytest.mark.parametrize("text", ["", "1", "v1.0", "1.0.0.0", "1.0.x", "01.0.0", "1.0.0\n", "１.0.0", "-1.0.0"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="semantic version"):
        Version.parse(text)


def test_catalogue_holds_what_the_manifests_say_in_version_order(catalogue: Catalogue) -> None:
    assert [str(head.version) for head in catalogue.heads] == ["1.0.0", "1.2.0", "1.10.0"]
    head = catalogue.heads[0]
    assert (head.name, head.industry, head.languages, head.labels) == ("banking", "finance", ("en",), ("lost", "挂号"))
    encoder = catalogue.encoder_of(head)
    assert (encoder.max_tokens, encoder.dimension, encoder.model_path.read_bytes()) == (8, DIMENSION, b"onnx")
    assert encoder.manifest.inputs == ("input_ids", "attention_mask")


def test_tokenizer_adds_special_tokens_and_neither_cuts_nor_pads(catalogue: Catalogue) -> None:
    short, long = catalogue.encoders[0].tokenizer.encode_batch(["card", "card " * 20])
    assert short.tolist() == [0, 4, 2]
    assert long.dtype == np.int64
    assert len(long) == 22


def test_probabilities_are_the_softmax_of_the_tempered_logits(catalogue: Catalogue) -> None:
    head = catalogue.heads[0]
    embeddings = np.array([[1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], [0, 0, 0, 1]], dtype=np.float32)
    logits = (embeddings @ head.weight.T + head.bias) / 0.5
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    got = head.classify(embeddings)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_huge_logits_do_not_overflow(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    tensors = {"weight": np.full((2, DIMENSION), 1e4, np.float32), "bias": np.array([0, 1e4], np.float32)}
    write_head(tmp_path, tensors=tensors)
    got = load_catalogue(tmp_path).heads[0].classify(np.ones((1, DIMENSION), np.float32))
    assert got.tolist() == [[0.0, 1.0]]


def test_altered_byte_is_found(tmp_path: Path) -> None:
    bundle = write_encoder(tmp_path)
    (bundle / "model.onnx").write_bytes(b"onnX")
    with pytest.raises(BundleError, match=r"model\.onnx: SHA-256 differs"):
        load_catalogue(tmp_path)


def test_changed_size_is_found(tmp_path: Path) -> None:
    bundle = write_encoder(tmp_path)
    (bundle / "model.onnx").write_bytes(b"onnxx")
    with pytest.raises(BundleError, match="has 5 bytes, the manifest says 4"):
        load_catalogue(tmp_path)


def test_missing_and_unlisted_files_are_found(tmp_path: Path) -> None:
    bundle = write_encoder(tmp_path)
    (bundle / "extra.bin").write_bytes(b"")
    with pytest.raises(BundleError, match=r"extra\.bin: is not listed"):
        load_catalogue(tmp_path)
    (bundle / "extra.bin").unlink()
    (bundle / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx: cannot be read"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"schema": 2}, "schema must be 1"),
        ({"kind": "other"}, "kind is 'other'"),
        ({"labels": ["a", "a"]}, "repeats a label"),
        ({"labels": ["a", "b", "c"]}, "do not fit 3 labels"),
        ({"labels": "ab"}, "field 'labels' must be list"),
        ({"temperature": 0.0}, "must be positive"),
        ({"input": "both"}, "field 'input' must be 'masked' or 'raw', is 'both'"),
        ({"input": 3}, "field 'input' must be"),
        ({"temperature": 1}, "field 'temperature' must be float"),
        ({"max_tokens": True}, "field 'max_tokens' must be int"),
        ({"max_tokens": 9}, "max_tokens 9 exceeds the encoder's 8"),
        ({"encoder": {"name": "encoder", "version": "2.0.0"}}, "encoder v2.0.0 does not ship"),
        ({"encoder": {"name": "encoder", "version": "two"}}, "not a semantic version"),
        ({"industry": ""}, "field 'industry' is empty"),
        ({"files": {"../head.safetensors": {}}}, "file entry '../head.safetensors' is malformed"),
        ({"files": {}}, "is not listed"),
    ],
)
def test_faulty_manifests_name_the_file_and_the_fault(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    write_encoder(tmp_path)
    write_head(tmp_path, **changes)
    with pytest.raises(BundleError, match="banking.*" + fault.replace(".", r"\.")):
        load_catalogue(tmp_path)


def test_manifest_must_say_where_it_lies(tmp_path: Path) -> None:
    write_encoder(tmp_path).rename(tmp_path / "encoder" / "v1.0.1")
    with pytest.raises(BundleError, match=r"says encoder v1\.0\.0 but lies in encoder/v1\.0\.1"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": np.zeros((2, DIMENSION), np.float32)},
        {"weight": np.zeros((2, DIMENSION), np.float64), "bias": np.zeros(2, np.float32)},
        {"weight": np.full((2, DIMENSION), np.nan, np.float32), "bias": np.zeros(2, np.float32)},
        {"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32)},
    ],
)
def test_faulty_weights_are_refused(tmp_path: Path, tensors: dict[str, Any]) -> None:
    write_encoder(tmp_path)
    write_head(tmp_path, tensors=tensors)
    with pytest.raises(BundleError, match=r"head\.safetensors"):
        load_catalogue(tmp_path)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    bundle = write_encoder(tmp_path)
    (bundle / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json: is not JSON"):
        load_catalogue(tmp_path)
    manifest = {"name": "encoder", "version": "1.0.0", "kind": "encoder", "licence": "MIT", "max_tokens": 8}
    more = {"dimension": 4, "inputs": ["a", "b"], "output": "c"}
    write_bundle(tmp_path, manifest | more, {"model.onnx": b"", "tokenizer.json": b"{}"})
    with pytest.raises(BundleError, match=r"tokenizer\.json: is not a tokenizer"):
        load_catalogue(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no encoder bundle found"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize(("changes", "raw"), [({}, False), ({"input": "masked"}, False), ({"input": "raw"}, True)])
def test_a_head_sees_raw_texts_only_if_its_manifest_asks(tmp_path: Path, changes: dict[str, str], raw: bool) -> None:
    write_encoder(tmp_path)
    write_head(tmp_path, **changes)
    assert load_catalogue(tmp_path).heads[0].raw_input is raw
