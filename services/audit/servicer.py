"""AuditService on the wire: parse, one domain call, render."""

from __future__ import annotations

from typing import Any

from assay.audit.v1 import audit_pb2, audit_pb2_grpc

from services.audit import convert
from services.audit.log import AuditLog


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Serves an AuditLog."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def GetEvent(self, request: audit_pb2.GetEventRequest, context: Any) -> audit_pb2.GetEventResponse:
        record = await self._log.get(request.event_id)
        return audit_pb2.GetEventResponse(event=convert.from_record(record))

    async def ListEvents(self, request: audit_pb2.ListEventsRequest, context: Any) -> audit_pb2.ListEventsResponse:
        records, token = await self._log.page(convert.to_query(request), request.page_size, request.page_token)
        return convert.from_page(records, token)
