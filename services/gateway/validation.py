"""What may be asked: the checks that need no model.

Whether a model, a version or an industry exists, whether they fit together and how many tokens a text has, only the
classifier can say.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from services.gateway.detection.scan import find
from services.gateway.requests import DEFAULT_TENANT, Query
from services.kernel.errors import AssayError, Reason

_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})
_NAME_BYTES = 128
_ID_LENGTH = 128
_TENANT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_SUBJECT_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one call may bring."""

    text_bytes: int = 65_536
    batch_texts: int = 256


def check_query(query: Query, encoded: bytes, limits: Limits) -> None:
    """Checks one query; `encoded` is its text as UTF-8.

    Raises:
        AssayError: TEXT_BLANK, TEXT_TOO_LARGE or FIELD_INVALID; `field` names the field without the query's path.
    """
    if not _has_visible(query.text):
        raise AssayError(Reason.TEXT_BLANK, field="text")
    if len(encoded) > limits.text_bytes:
        raise AssayError(Reason.TEXT_TOO_LARGE, field="text", bytes=len(encoded), limit=limits.text_bytes)
    if query.request_id:
        check_identifier("request_id", query.request_id)
    if query.model:
        _check_name("model", query.model)
    if query.model_version:
        _check_name("model_version", query.model_version)
    if query.industry:
        _check_name("industry", query.industry)


def check_batch(texts: int, limits: Limits) -> None:
    """Checks the number of texts in one call.

    Raises:
        AssayError: BATCH_EMPTY or BATCH_TOO_LARGE.
    """
    if texts == 0:
        raise AssayError(Reason.BATCH_EMPTY, field="requests", limit=f"1 to {limits.batch_texts}")
    if texts > limits.batch_texts:
        raise AssayError(Reason.BATCH_TOO_LARGE, field="requests", items=texts, limit=limits.batch_texts)


def is_identifier(value: str) -> bool:
    """Says whether a caller may choose this as an id: up to 128 printable ASCII characters, or none at all."""
    return len(value) <= _ID_LENGTH and value.isascii() and value.isprintable()


def check_identifier(field: str, value: str) -> None:
    """Checks an id that the caller chose: up to 128 printable ASCII characters.

    Raises:
        AssayError: FIELD_INVALID. Its value is a length, for the id itself may be anything, a misplaced text too.
    """
    if not is_identifier(value):
        wanted = f"up to {_ID_LENGTH} printable ASCII characters"
        raise AssayError(Reason.FIELD_INVALID, field=field, value=_size(value), limit=wanted)


def check_tenant(field: str, claimed: str | bytes | None) -> str:
    """Returns the tenant that a caller named in the metadata key `field`; "default" when it named none.

    Raises:
        AssayError: FIELD_INVALID. Its value is a length, for the name may be anything.
    """
    if not claimed:
        return DEFAULT_TENANT
    name = claimed if isinstance(claimed, str) else ""
    if not _TENANT.fullmatch(name):
        limit = "a letter, then up to 63 letters, digits, dots, hyphens and underscores"
        raise AssayError(Reason.FIELD_INVALID, field=field, value=_size(name), limit=limit)
    if find(name, {}):
        # It is kept as it is, in every record of the tenant.
        raise AssayError(Reason.FIELD_INVALID, field=field, value=_size(name), limit="a name that is no personal data")
    return name


def check_subject(field: str, claimed: str | bytes | None) -> str:
    """Returns the person that a caller named in the metadata key `field`; empty when it named none.

    Raises:
        AssayError: FIELD_INVALID. Its value is a length: this is personal.
    """
    if not claimed:
        return ""
    name = claimed.strip() if isinstance(claimed, str) else ""
    if not (0 < len(name) <= _SUBJECT_LENGTH and name.isascii() and name.isprintable()):
        limit = f"1 to {_SUBJECT_LENGTH} printable ASCII characters"
        raise AssayError(Reason.FIELD_INVALID, field=field, value=_size(name), limit=limit)
    return name


def _check_name(field: str, value: str) -> None:
    # Only the size, so that a name that does not exist gets the answer which says what does.
    if len(value) > _NAME_BYTES or len(value.encode()) > _NAME_BYTES:
        raise AssayError(Reason.FIELD_INVALID, field=field, value=_size(value), limit=f"up to {_NAME_BYTES} bytes")


def _size(value: str) -> str:
    kind = "" if value.isascii() and value.isprintable() else " with others than printable ASCII"
    return f"{len(value)} characters{kind}"


def _has_visible(text: str) -> bool:
    if not text:
        return False
    # Nearly every text starts with a letter, a digit or a Chinese character.
    return text[0].isalnum() or any(unicodedata.category(character) not in _INVISIBLE for character in text)
