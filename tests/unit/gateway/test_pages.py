"""What the edge serves as files is complete: what the page asks for is there, and nothing comes from elsewhere."""

from __future__ import annotations

import json
import re

from services.gateway.pages import static_files


def test_every_path_has_its_file() -> None:
    served = static_files()
    assert {
        "/docs",
        "/openapi.json",
        "/docs/assay.binpb",
        "/docs/swagger-ui-bundle.js",
        "/docs/LICENSE",
    } <= served.keys()
    assert all(path.is_file() and path.stat().st_size > 0 for path in served.values())
    assert json.loads(served["/openapi.json"].read_text(encoding="utf-8"))["openapi"] == "3.1.0"


def test_the_page_asks_only_for_what_is_served() -> None:
    served = static_files()
    page = served["/docs"].read_text(encoding="utf-8")
    asked = set(re.findall(r'(?:src|href)="([^"#]+)"', page))
    assert asked <= served.keys()
    script = served["/docs/docs.js"].read_text(encoding="utf-8")
    assert "/openapi.json" in script
    assert "http" not in page + script + served["/docs/docs.css"].read_text(encoding="utf-8")
