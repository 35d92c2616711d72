"""Manifests of model bundles: the `manifest.json` that says what a bundle is and lists every other file of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import total_ordering
from pathlib import Path
from typing import Any, TypeVar

MANIFEST = "manifest.json"
SCHEMA = 1

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
class Manifest:
    """What every bundle says about itself. `max_tokens` counts special tokens."""

    name: str
    version: Version
    licence: str
    files: Mapping[str, FileEntry]
    max_tokens: int


@dataclass(frozen=True)
class EncoderManifest(Manifest):
    """What an encoder says besides. `inputs` are ids, then mask."""

    dimension: int
    inputs: tuple[str, str]
    output: str


@dataclass(frozen=True)
class HeadManifest(Manifest):
    """What a head says besides. `temperature` divides the logits before the softmax.

    `raw_input` is the manifest's `input`: "masked", as without the field, or "raw" for a model that needs to see the
    personal data in a text.
    """

    encoder: EncoderRef
    industry: str
    task: str
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    temperature: float
    raw_input: bool = False


class Fields:
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

    def inner(self, name: str) -> Fields:
        return Fields(self.path, self.take(name, dict))

    def files(self) -> dict[str, FileEntry]:
        entries: dict[str, FileEntry] = {}
        for name, stated in self.take("files", dict).items():
            if not isinstance(stated, dict) or _FILE_NAME.fullmatch(name) is None:
                raise BundleError(self.path, f"file entry {name!r} is malformed")
            entry = Fields(self.path, stated)
            entries[name] = FileEntry(sha256=entry.text("sha256"), size=entry.take("bytes", int))
        return entries


def read_manifest(bundle: Path) -> Fields:
    """Reads the manifest of a bundle's folder, which must be where its name and version say.

    Raises BundleError.
    """
    path = bundle / MANIFEST
    try:
        values = json.loads(path.read_bytes())
    except OSError as fault:
        raise BundleError(path, f"cannot be read: {fault.strerror}") from fault
    except ValueError as fault:
        raise BundleError(path, f"is not JSON: {fault}") from fault
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise BundleError(path, f"schema must be {SCHEMA}")
    fields = Fields(path, values)
    name, version = fields.text("name"), fields.parsed("version", Version.parse)
    if (bundle.parent.name, bundle.name) != (name, f"v{version}"):
        raise BundleError(path, f"says {name} v{version} but lies in {bundle.parent.name}/{bundle.name}")
    return fields


def encoder_manifest(fields: Fields) -> EncoderManifest:
    """Returns what an encoder's manifest says. Raises BundleError."""
    inputs = fields.texts("inputs")
    if len(inputs) != 2:
        raise BundleError(fields.path, "field 'inputs' must name the token ids and the attention mask")
    return EncoderManifest(
        name=fields.text("name"),
        version=fields.parsed("version", Version.parse),
        licence=fields.text("licence"),
        files=fields.files(),
        max_tokens=fields.count("max_tokens"),
        dimension=fields.count("dimension"),
        inputs=(inputs[0], inputs[1]),
        output=fields.text("output"),
    )


def head_manifest(fields: Fields) -> HeadManifest:
    """Returns what a head's manifest says. Raises BundleError."""
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
    return manifest
