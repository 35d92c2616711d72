"""Model bundles: what ships under `models/`, read, verified and ready to use.

A bundle is a folder `<name>/v<version>/` with a `manifest.json` that lists every other file with its SHA-256 and
size. An encoder bundle holds `model.onnx` and `tokenizer.json`; a head bundle holds `head.safetensors`. Nothing is
used before its bytes agree with its manifest.

This module is pure: it reads files and does arithmetic. It does not run the encoder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, total_ordering
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from tokenizers import Tokenizer as HfTokenizer

MANIFEST = "manifest.json"
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
HEAD_FILE = "head.safetensors"
SCHEMA = 1

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
T = TypeVar("T")

_VERSION = re.compile(r"v?(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)


class BundleError(Exception):
    """A bundle that cannot be trusted or understood. The message names the file and the fault."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path}: {fault}")
        self.path = path
        self.fault = fault


@total_ordering
@dataclass(frozen=True)
class Version:
    """Semantic version. Ordered by major, minor, patch; `str` gives `1.0.0`, without a leading `v`."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read `1.0.0` or `v1.0.0`. Raises ValueError for anything else."""
        found = _VERSION.fullmatch(text)
        if found is None:
            raise ValueError(f"not a semantic version: {text!r}")
        return cls(*(int(part) for part in found.groups()))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        return (self.major, self.minor, self.patch) < (other.major, other.minor, other.patch)


@dataclass(frozen=True)
class EncoderRef:
    """The encoder whose embeddings a head was fitted on."""

    name: str
    version: Version


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle as its manifest states it: SHA-256 in lower-case hex, size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class EncoderManifest:
    """What an encoder says about itself. `max_tokens` counts special tokens; `inputs` are ids, then mask."""

    name: str
    version: Version
    licence: str
    files: Mapping[str, FileEntry]
    max_tokens: int
    dimension: int
    inputs: tuple[str, str]
    output: str


@dataclass(frozen=True)
class HeadManifest:
    """What a head says about itself. `temperature` divides the logits before the softmax.

    `raw_input` is the manifest's `input`: "masked", as without the field, or "raw" for a model that needs to see the
    personal data in a text.
    """

    name: str
    version: Version
    licence: str
    files: Mapping[str, FileEntry]
    encoder: EncoderRef
    industry: str
    task: str
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    max_tokens: int
    temperature: float
    raw_input: bool = False


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


@dataclass(frozen=True)
class Encoder:
    """A verified encoder bundle. The ONNX bytes stay on disk at `model_path`."""

    manifest: EncoderManifest
    folder: Path
    tokenizer: Tokenizer

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> Version:
        return self.manifest.version

    @property
    def max_tokens(self) -> int:
        return self.manifest.max_tokens

    @property
    def dimension(self) -> int:
        return self.manifest.dimension

    @property
    def model_path(self) -> Path:
        return self.folder / MODEL_FILE


@dataclass(frozen=True)
class Head:
    """A verified head: a linear layer on the encoder's embedding, with calibrated probabilities."""

    manifest: HeadManifest
    weight: FloatArray = field(repr=False)
    bias: FloatArray = field(repr=False)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> Version:
        return self.manifest.version

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
    def max_tokens(self) -> int:
        return self.manifest.max_tokens

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
        manifest = _Fields(bundle / MANIFEST, _read_manifest(bundle))
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


class _Fields:
    """Typed access to a manifest's fields; every fault names the file and the field."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self._values = values

    def take(self, name: str, kind: type[T]) -> T:
        value = self._values.get(name)
        # bool is an int to Python, not to a manifest
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BundleError(self.path, f"field {name!r} must be {kind.__name__}, is {value!r}")
        return value

    def text(self, name: str) -> str:
        value = self.take(name, str)
        if not value:
            raise BundleError(self.path, f"field {name!r} is empty")
        return value

    def count(self, name: str) -> int:
        value = self.take(name, int)
        if value < 1:
            raise BundleError(self.path, f"field {name!r} must be at least 1, is {value}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.take(name, list)
        if not values or not all(isinstance(value, str) and value for value in values):
            raise BundleError(self.path, f"field {name!r} must be a non-empty list of strings")
        return tuple(values)

    def choice(self, name: str, default: str, other: str) -> str:
        """One of two words; the first when the field is missing."""
        value = self._values.get(name, default)
        if value not in (default, other):
            raise BundleError(self.path, f"field {name!r} must be {default!r} or {other!r}, is {value!r}")
        return str(value)

    def parsed(self, name: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(self.text(name))
        except ValueError as fault:
            raise BundleError(self.path, f"field {name!r}: {fault}") from fault

    def inner(self, name: str) -> _Fields:
        return _Fields(self.path, self.take(name, dict))

    def files(self) -> dict[str, FileEntry]:
        entries: dict[str, FileEntry] = {}
        for name, stated in self.take("files", dict).items():
            if not isinstance(stated, dict) or _FILE_NAME.fullmatch(name) is None:
                raise BundleError(self.path, f"file entry {name!r} is malformed")
            entry = _Fields(self.path, stated)
            entries[name] = FileEntry(sha256=entry.text("sha256"), size=entry.take("bytes", int))
        return entries


def _read_manifest(bundle: Path) -> dict[str, Any]:
    path = bundle / MANIFEST
    try:
        values = json.loads(path.read_bytes())
    except OSError as fault:
        raise BundleError(path, f"cannot be read: {fault.strerror}") from fault
    except ValueError as fault:
        raise BundleError(path, f"is not JSON: {fault}") from fault
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise BundleError(path, f"schema must be {SCHEMA}")
    fields = _Fields(path, values)
    name, version = fields.text("name"), fields.parsed("version", Version.parse)
    if (bundle.parent.name, bundle.name) != (name, f"v{version}"):
        raise BundleError(path, f"says {name} v{version} but lies in {bundle.parent.name}/{bundle.name}")
    return values


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


def _encoder(bundle: Path, fields: _Fields, contents: Mapping[str, bytes]) -> Encoder:
    inputs = fields.texts("inputs")
    if len(inputs) != 2:
        raise BundleError(fields.path, "field 'inputs' must name the token ids and the attention mask")
    manifest = EncoderManifest(
        name=fields.text("name"),
        version=fields.parsed("version", Version.parse),
        licence=fields.text("licence"),
        files=fields.files(),
        max_tokens=fields.count("max_tokens"),
        dimension=fields.count("dimension"),
        inputs=(inputs[0], inputs[1]),
        output=fields.text("output"),
    )
    _required(bundle, contents, MODEL_FILE)
    try:
        tokenizer = Tokenizer.from_bytes(_required(bundle, contents, TOKENIZER_FILE))
    except ValueError as fault:
        raise BundleError(bundle / TOKENIZER_FILE, f"is not a tokenizer: {fault}") from fault
    return Encoder(manifest=manifest, folder=bundle, tokenizer=tokenizer)


def _head(bundle: Path, fields: _Fields, contents: Mapping[str, bytes]) -> Head:
    encoder = fields.inner("encoder")
    temperature = fields.take("temperature", float)
    if not 0.0 < temperature < float("inf"):
        raise BundleError(fields.path, f"field 'temperature' must be positive and finite, is {temperature}")
    manifest = HeadManifest(
        name=fields.text("name"),
        version=fields.parsed("version", Version.parse),
        licence=fields.text("licence"),
        files=fields.files(),
        encoder=EncoderRef(encoder.text("name"), encoder.parsed("version", Version.parse)),
        industry=fields.text("industry"),
        task=fields.text("task"),
        languages=fields.texts("languages"),
        labels=fields.texts("labels"),
        max_tokens=fields.count("max_tokens"),
        temperature=temperature,
        raw_input=fields.choice("input", "masked", "raw") == "raw",
    )
    if len(set(manifest.labels)) != len(manifest.labels):
        raise BundleError(fields.path, "field 'labels' repeats a label")
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
