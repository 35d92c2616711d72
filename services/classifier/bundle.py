"""Model bundles: what ships under `models/`, read, verified and ready to use.

A bundle is a folder `<name>/v<version>/` with a `manifest.json` that lists every other file with its SHA-256 and
size. An encoder bundle holds `model.onnx` and `tokenizer.json`; a head bundle holds `head.safetensors`. Nothing is
used before its bytes agree with its manifest.

This module is pure: it reads files and does arithmetic. It does not run the encoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from tokenizers import Tokenizer as HfTokenizer

from services.classifier.manifest import (
    MANIFEST,
    BundleError,
    EncoderManifest,
    EncoderRef,
    Fields,
    FileEntry,
    HeadManifest,
    Manifest,
    Version,
    encoder_manifest,
    head_manifest,
    read_manifest,
)

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
HEAD_FILE = "head.safetensors"

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class Tokenizer:
    """The encoder's own tokenizer: normalises, adds special tokens, never truncates and never pads."""

    def __init__(self, tokenizer: HfTokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer

    @classmethod
    def from_bytes(cls, data: bytes) -> Tokenizer:
        """Read a `tokenizer.json`. Raises ValueError when it is not one."""
        try:
            return cls(HfTokenizer.from_buffer(data))
        except Exception as fault:  # the library raises bare Exception
            raise ValueError(str(fault)) from fault

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        """Exact token ids of each text, special tokens included; one int64 array [tokens] a text."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]


class _Bundle:
    """What every bundle's manifest says."""

    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> Version:
        return self.manifest.version

    @property
    def max_tokens(self) -> int:
        return self.manifest.max_tokens


@dataclass(frozen=True)
class Encoder(_Bundle):
    """A verified encoder bundle. The ONNX bytes stay on disk at `model_path`."""

    manifest: EncoderManifest
    folder: Path
    tokenizer: Tokenizer

    @property
    def dimension(self) -> int:
        return self.manifest.dimension

    @property
    def model_path(self) -> Path:
        return self.folder / MODEL_FILE


@dataclass(frozen=True)
class Head(_Bundle):
    """A verified head: a linear layer on the encoder's embedding, with calibrated probabilities."""

    manifest: HeadManifest
    weight: FloatArray = field(repr=False)
    bias: FloatArray = field(repr=False)

    @property
    def industry(self) -> str:
        return self.manifest.industry

    @property
    def languages(self) -> tuple[str, ...]:
        return self.manifest.languages

    @property
    def labels(self) -> tuple[str, ...]:
        return self.manifest.labels

    @property
    def raw_input(self) -> bool:
        return self.manifest.raw_input

    @property
    def encoder(self) -> EncoderRef:
        return self.manifest.encoder

    @cached_property
    def _scaled(self) -> tuple[FloatArray, FloatArray]:
        """Weight [D, C] and bias [C], both already divided by the temperature."""
        temperature = np.float32(self.manifest.temperature)
        return np.ascontiguousarray((self.weight / temperature).T), self.bias / temperature

    def classify(self, embeddings: FloatArray) -> FloatArray:
        """Probabilities [n, C] = softmax((W e + b) / T) of embeddings [n, D]; columns as `labels`."""
        weight, bias = self._scaled
        logits = embeddings.astype(np.float32, copy=False) @ weight + bias
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits


@dataclass(frozen=True)
class Catalogue:
    """Everything that ships, heads and encoders each sorted by name, then version."""

    encoders: tuple[Encoder, ...]
    heads: tuple[Head, ...]

    def encoder_of(self, head: Head) -> Encoder:
        """The encoder a head was fitted on; `load_catalogue` made sure that it is there."""
        return next(e for e in self.encoders if (e.name, e.version) == (head.encoder.name, head.encoder.version))


def load_catalogue(folder: Path) -> Catalogue:
    """Read and verify every `<name>/v<version>/` below `folder`.

    Raises BundleError when a manifest is missing or malformed, a file is missing, unlisted or altered, a head's
    shapes do not fit its labels and encoder, or a head's encoder does not ship.
    """
    encoders: list[Encoder] = []
    heads: list[Head] = []
    for bundle in sorted(path for path in folder.glob("*/v*") if path.is_dir()):
        manifest = read_manifest(bundle)
        contents = _verified_contents(bundle, manifest.files())
        kind = manifest.text("kind")
        if kind == "encoder":
            encoders.append(_encoder(bundle, manifest, contents))
        elif kind == "head":
            heads.append(_head(bundle, manifest, contents))
        else:
            raise BundleError(bundle / MANIFEST, f"kind is {kind!r}, expected 'encoder' or 'head'")
    if not encoders:
        raise BundleError(folder, "no encoder bundle found")
    catalogue = Catalogue(
        encoders=tuple(sorted(encoders, key=lambda e: (e.name, e.version))),
        heads=tuple(sorted(heads, key=lambda h: (h.name, h.version))),
    )
    for head in catalogue.heads:
        _check_fit(folder, head, catalogue.encoders)
    return catalogue


def _verified_contents(bundle: Path, files: Mapping[str, FileEntry]) -> dict[str, bytes]:
    unlisted = sorted({path.name for path in bundle.iterdir()} - files.keys() - {MANIFEST})
    if unlisted:
        raise BundleError(bundle / unlisted[0], "is not listed in the manifest")
    contents: dict[str, bytes] = {}
    for name, entry in sorted(files.items()):
        path = bundle / name
        try:
            data = path.read_bytes()
        except OSError as fault:
            raise BundleError(path, f"cannot be read: {fault.strerror}") from fault
        if len(data) != entry.size:
            raise BundleError(path, f"has {len(data)} bytes, the manifest says {entry.size}")
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(path, "SHA-256 differs from the manifest")
        contents[name] = data
    return contents


def _required(bundle: Path, contents: Mapping[str, bytes], name: str) -> bytes:
    if name not in contents:
        raise BundleError(bundle / name, "is missing from the manifest")
    return contents[name]


def _encoder(bundle: Path, fields: Fields, contents: Mapping[str, bytes]) -> Encoder:
    manifest = encoder_manifest(fields)
    _required(bundle, contents, MODEL_FILE)
    try:
        tokenizer = Tokenizer.from_bytes(_required(bundle, contents, TOKENIZER_FILE))
    except ValueError as fault:
        raise BundleError(bundle / TOKENIZER_FILE, f"is not a tokenizer: {fault}") from fault
    return Encoder(manifest=manifest, folder=bundle, tokenizer=tokenizer)


def _head(bundle: Path, fields: Fields, contents: Mapping[str, bytes]) -> Head:
    manifest = head_manifest(fields)
    path = bundle / HEAD_FILE
    try:
        tensors = load_safetensors(_required(bundle, contents, HEAD_FILE))
    except SafetensorError as fault:
        raise BundleError(path, f"is not a safetensors file: {fault}") from fault
    if set(tensors) != {"weight", "bias"} or any(tensor.dtype != np.float32 for tensor in tensors.values()):
        raise BundleError(path, "must hold float32 'weight' and 'bias' and nothing else")
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise BundleError(path, "holds numbers that are not finite")
    return Head(manifest=manifest, weight=tensors["weight"], bias=tensors["bias"])


def _check_fit(folder: Path, head: Head, encoders: Sequence[Encoder]) -> None:
    bundle = folder / head.name / f"v{head.version}"
    encoder = next((e for e in encoders if (e.name, e.version) == (head.encoder.name, head.encoder.version)), None)
    if encoder is None:
        raise BundleError(bundle / MANIFEST, f"encoder {head.encoder.name} v{head.encoder.version} does not ship")
    classes = len(head.labels)
    if head.weight.shape != (classes, encoder.dimension) or head.bias.shape != (classes,):
        raise BundleError(
            bundle / HEAD_FILE,
            f"shapes {head.weight.shape} and {head.bias.shape} do not fit {classes} labels"
            f" and dimension {encoder.dimension}",
        )
    if head.max_tokens > encoder.max_tokens:
        raise BundleError(bundle / MANIFEST, f"max_tokens {head.max_tokens} exceeds the encoder's {encoder.max_tokens}")
