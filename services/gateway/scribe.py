"""The scribe writes up what became of a text or a call, without the text itself and without anyone's personal data."""

from __future__ import annotations

import re
import time

from services.gateway.answers import Classification
from services.gateway.decision import ConfidenceThreshold
from services.gateway.masking import MaskedText, Masker
from services.gateway.records import AuditRecord, ReviewRequest
from services.gateway.requests import Call, Query
from services.gateway.tenants import Tenants
from services.kernel.errors import AssayError, Reason
from services.kernel.identifiers import uuid7
from services.kernel.presentable import presentable_path

# Of what a caller wrote into other fields than the text, the record of a refusal keeps so many characters.
_KEPT = 128
_LOOKED_AT = 1024

# The usual id of a request. It has runs of digits, and is nobody's number.
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
# 128 bits: two people must not have one pseudonym, because one of them may be erased.


class Scribe:
    """Makes records, each under its tenant's keys; writes nothing anywhere."""

    def __init__(self, tenants: Tenants, threshold: ConfidenceThreshold) -> None:
        self._tenants = tenants
        self._threshold = threshold

    def masker(self, call: Call) -> Masker:
        """Returns what masks for the call's tenant."""
        return self._tenants.of(call.tenant).masker

    def masked(self, call: Call, error: AssayError) -> AssayError:
        """Returns an error without personal data in what it quotes."""
        return _masked_error(self.masker(call), error)

    def text(
        self,
        call: Call,
        audit_id: str,
        query: Query,
        encoded: bytes,
        shown: MaskedText | None,
        result: Classification | AssayError,
    ) -> tuple[AuditRecord, ReviewRequest | None]:
        """Returns the record of one text and, when its answer is doubtful, what asks a person to look.

        `encoded` is the text as UTF-8, `shown` what the masker made of it, if it was asked.
        """
        tenant = self._tenants.of(call.tenant)
        masker = tenant.masker
        too_large = isinstance(result, AssayError) and result.reason is Reason.TEXT_TOO_LARGE
        masked = "" if too_large else (shown or masker.mask(query.text)).text
        record = AuditRecord(
            audit_id=audit_id,
            time_ns=time.time_ns(),
            request_id=_masked_id(masker, query.request_id) or audit_id,
            tenant=call.tenant,
            caller=_masked(masker, call.caller),
            subject=tenant.subject(call.subject),
            method=call.method,
            model=query.model,
            model_version=query.model_version,
            industry=query.industry,
            text_hmac=tenant.pseudonyms.of_text(encoded) if encoded else b"",
            masked_text=masked,
            text_characters=len(query.text),
            text_bytes=len(encoded),
            tokens=0,
            latency=time.monotonic() - call.started,
        )
        if isinstance(result, AssayError):
            record.model = _masked(masker, record.model)
            record.model_version = _masked(masker, record.model_version)
            record.industry = _masked(masker, record.industry)
            record.error = _masked_error(masker, result)
            return record, None
        record.model = result.model
        record.model_version = result.model_version
        record.industry = result.industry
        record.tokens = result.tokens
        record.classification = result
        if not self._threshold.is_doubtful(result.confidence):
            return record, None
        record.review_task_id = uuid7()
        return record, ReviewRequest(
            task_id=record.review_task_id,
            audit_id=record.audit_id,
            time_ns=record.time_ns,
            masked_text=masked,
            classification=result,
            threshold=self._threshold.value,
            tenant=call.tenant,
            caller=record.caller,
        )

    def call(self, call: Call, error: AssayError | None, message_bytes: int = 0) -> AuditRecord:
        """Returns the record of a call as a whole: one that was refused, or one that classifies nothing."""
        return self.past_call(
            call, error, message_bytes, time_ns=time.time_ns(), latency=time.monotonic() - call.started
        )

    def past_call(
        self, call: Call, error: AssayError | None, message_bytes: int, *, time_ns: int, latency: float
    ) -> AuditRecord:
        """Returns the record of a call that ended at a Unix time (nanoseconds) after so many seconds."""
        tenant = self._tenants.of(call.tenant)
        masker = tenant.masker
        audit_id = uuid7()
        return AuditRecord(
            audit_id=audit_id,
            time_ns=time_ns,
            request_id=audit_id,
            tenant=call.tenant,
            caller=_masked(masker, call.caller),
            subject=tenant.subject(call.subject),
            method=presentable_path(call.method),
            model="",
            model_version="",
            industry="",
            text_hmac=b"",
            masked_text="",
            text_characters=0,
            text_bytes=message_bytes,
            tokens=0,
            latency=latency,
            error=None if error is None else _masked_error(masker, error),
        )


def _masked_id(masker: Masker, request_id: str) -> str:
    return request_id if _UUID.fullmatch(request_id) else _masked(masker, request_id)


def _masked_error(masker: Masker, error: AssayError) -> AssayError:
    masked = {
        key: presentable_path(value) if key == "method" else _masked(masker, value)
        for key, value in error.metadata.items()
    }
    return AssayError(error.reason, **masked)


def _masked(masker: Masker, value: str) -> str:
    # Masked before it is cut to what is kept: half a number would not be known for one.
    return masker.mask(value[:_LOOKED_AT]).text[:_KEPT] if value else value
