"""AuditService on the wire: parse, one domain call, render."""

from __future__ import annotations

from typing import Any

from assay.audit.v1 import audit_pb2, audit_pb2_grpc

from services.audit import convert
from services.audit.log import AuditLog
from services.audit.proofs import Prover


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Serves an AuditLog and its proofs."""

    def __init__(self, log: AuditLog, prover: Prover) -> None:
        self._log = log
        self._prover = prover

    async def GetEvent(self, request: audit_pb2.GetEventRequest, context: Any) -> audit_pb2.GetEventResponse:
        logged = await self._log.get(request.event_id)
        return audit_pb2.GetEventResponse(event=convert.from_logged(logged), index=logged.index)

    async def ListEvents(self, request: audit_pb2.ListEventsRequest, context: Any) -> audit_pb2.ListEventsResponse:
        events, token = await self._log.page(convert.to_query(request), request.page_size, request.page_token)
        return convert.from_page(events, token)

    async def GetCheckpoint(
        self, request: audit_pb2.GetCheckpointRequest, context: Any
    ) -> audit_pb2.GetCheckpointResponse:
        _, note = await self._prover.checkpoint()
        return convert.from_checkpoint(note, self._prover.verifier)

    async def GetInclusionProof(
        self, request: audit_pb2.GetInclusionProofRequest, context: Any
    ) -> audit_pb2.GetInclusionProofResponse:
        return convert.from_inclusion(await self._prover.inclusion(request.event_id, request.tree_size))

    async def GetConsistencyProof(
        self, request: audit_pb2.GetConsistencyProofRequest, context: Any
    ) -> audit_pb2.GetConsistencyProofResponse:
        return convert.from_consistency(await self._prover.consistency(request.first_size, request.second_size))

    async def ListEntries(self, request: audit_pb2.ListEntriesRequest, context: Any) -> audit_pb2.ListEntriesResponse:
        entries = await self._prover.entries(request.start_index, request.page_size, not request.hashes_only)
        return convert.from_entries(entries)
