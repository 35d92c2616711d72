"""The page at /docs and the documents beside it: which file the edge serves at which path."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from assay.ai.v1 import ai_pb2

_OURS = Path(__file__).resolve().parent / "static"
# The descriptors and the OpenAPI document lie at the import root of the stubs.
_CONTRACTS = Path(ai_pb2.__file__).resolve().parents[3]

# Swagger UI comes from a wheel that packs its files for another program; only the files are used, never its code.
_WHEEL = "mkdocs_swagger_ui_tag"
_SWAGGER_UI = {
    "swagger-ui-bundle.js": "javascripts/swagger-ui-bundle.js",
    "swagger-ui.css": "stylesheets/swagger-ui.css",
    "LICENSE": "LICENSE",
    "NOTICE": "NOTICE",
}


def static_files() -> Mapping[str, Path]:
    """Returns the file of every path that the edge serves as a file; `Edge.static` takes it.

    Raises:
        FileNotFoundError: when the stubs lie somewhere without the OpenAPI document, or Swagger UI is not installed.
    """
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{_WHEEL} is not installed; `make setup` installs it")
    swagger_ui = Path(spec.submodule_search_locations[0]) / "swagger-ui"
    index = _OURS / "index.html"
    files = {
        "/docs": index,
        "/docs/": index,
        **{f"/docs/{path.name}": path for path in sorted(_OURS.iterdir()) if path != index},
        **{f"/docs/{name}": swagger_ui / source for name, source in _SWAGGER_UI.items()},
        "/docs/assay.binpb": _CONTRACTS / "assay.binpb",
        "/openapi.json": _CONTRACTS / "openapi.json",
    }
    if missing := [str(path) for path in files.values() if not path.is_file()]:
        raise FileNotFoundError(f"missing: {', '.join(missing)}")
    return files
