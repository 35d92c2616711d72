"""What Envoy is to be at the gateway's public port."""

from __future__ import annotations

from assay.ai.v1 import ai_pb2
from assay.audit.v1 import audit_pb2
from assay.review.v1 import review_pb2

from services.gateway.pages import static_files
from services.gateway.settings import Settings
from services.kernel.hosting.edge import Edge

AI = ai_pb2.DESCRIPTOR.services_by_name["AIService"].full_name
AUDIT = audit_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name
REVIEW = review_pb2.DESCRIPTOR.services_by_name["ReviewService"].full_name


def proxied(settings: Settings) -> dict[str, str]:
    """Returns the services that are reached through the public port and live elsewhere, with their addresses."""
    addresses = {AUDIT: settings.audit_address, REVIEW: settings.review_address}
    return {name: address for name, address in addresses.items() if address}


def edge(settings: Settings) -> Edge:
    """Returns the edge, with neither an application inside nor an upstream yet.

    Raises:
        FileNotFoundError: a page's source is missing.
    """
    static = static_files()
    elsewhere = proxied(settings)
    return Edge(
        listen=settings.listen,
        folder=settings.data / "edge",
        descriptors=static["/docs/assay.binpb"],
        services=(AI, *elsewhere),
        proxied=elsewhere,
        static=static,
        admin_listen=settings.admin_listen,
    )
