"""What the public port leads to, and what it must not."""

from __future__ import annotations

import json
from pathlib import Path

from assay.audit.v1 import audit_pb2

from services.gateway.edge import edge
from services.gateway.pages import static_files
from services.gateway.settings import Settings

ADMIN = audit_pb2.DESCRIPTOR.services_by_name["AuditAdminService"]


def test_nobody_reaches_the_admin_service_through_the_public_port(tmp_path: Path) -> None:
    settings = Settings(
        classifier_addresses=("127.0.0.1:1",),
        event_log="redis://127.0.0.1:2/0",
        data=tmp_path,
        pseudonym_key_file=tmp_path / "key",
        audit_address="127.0.0.1:3",
        review_address="127.0.0.1:4",
    )
    made = edge(settings)
    assert "assay.audit.v1.AuditService" in made.services
    assert ADMIN.full_name not in made.services
    assert ADMIN.full_name not in made.proxied


def test_the_public_document_offers_nothing_of_the_admin_service() -> None:
    # Without an HTTP binding there is no route that a transcoder could make of a method.
    assert not [method.name for method in ADMIN.methods if method.GetOptions().ListFields()]
    document = static_files()["/openapi.json"].read_text()
    assert json.loads(document)["paths"]
    for method in ADMIN.methods:
        assert method.name not in document
        assert method.input_type.name not in document
