"""Writes stubs, descriptors, the OpenAPI document and docs/errors.md; with --check, fails if they are stale."""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.rpc import status_pb2
from grpc_tools import protoc

from protos.openapi.descriptors import Descriptors
from protos.openapi.document import render
from protos.openapi.errors import reason_table

PROTOS = Path(__file__).resolve().parent
GENERATED = PROTOS / "gen"
# What clients in other languages need beside our protos: the messages in which errors carry their details.
DETAILS = "google/rpc/error_details.proto"
# Ends with the table of reasons, which follows the catalogue.
ERRORS_PAGE = PROTOS.parent / "docs" / "errors.md"


def generate(target: Path) -> None:
    """Generates messages, services, type stubs, descriptors and the OpenAPI document of every proto into `target`.

    Raises:
        SystemExit: when protoc refuses a proto; it has printed why.
    """
    protos = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / "assay").rglob("*.proto"))
    google = Path(status_pb2.__file__).parents[2]
    well_known = Path(protoc.__file__).parent / "_proto"
    includes = [f"-I{PROTOS}", f"-I{google}", f"-I{well_known}"]
    # protoc looks for its plug-ins, which stand beside the interpreter, on the path.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    outputs = ["python", "mypy", "grpc_python", "mypy_grpc"]
    _protoc(*includes, *(f"--{name}_out={'quiet:' if 'mypy' in name else ''}{target}" for name in outputs), *protos)
    # Comments travel in the descriptors that Envoy's transcoder and the OpenAPI document are made from.
    descriptors = target / "assay.binpb"
    _protoc(
        *includes,
        f"--descriptor_set_out={descriptors}",
        "--include_imports",
        "--include_source_info",
        *protos,
        DETAILS,
    )
    (target / "openapi.json").write_text(render(_read(descriptors)), encoding="utf-8")


def errors_page(descriptors: Path) -> str:
    """Returns docs/errors.md with the table, everything behind the last comment, as the descriptors say it."""
    words, comment, _ = ERRORS_PAGE.read_text(encoding="utf-8").rpartition(" -->\n")
    return f"{words}{comment}{reason_table(Descriptors(_read(descriptors)))}"


def _read(descriptors: Path) -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())


def _protoc(*arguments: str) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit("protoc failed")


def differences(left: Path, right: Path) -> list[str]:
    """Returns the paths, relative to both folders, that are in only one of them or differ."""
    files = {
        path.relative_to(root)
        for root in (left, right)
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    return sorted(
        str(name)
        for name in files
        if not ((left / name).exists() and (right / name).exists())
        or not filecmp.cmp(left / name, right / name, shallow=False)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the committed stubs are stale")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        stale = differences(fresh, GENERATED)
        page = errors_page(fresh / "assay.binpb")
        if page != ERRORS_PAGE.read_text(encoding="utf-8"):
            stale.append(str(ERRORS_PAGE.relative_to(PROTOS.parent)))
        if check:
            if stale:
                sys.exit("stale, run `make gen`: " + ", ".join(stale))
            return
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(fresh, GENERATED)
        ERRORS_PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
