from __future__ import annotations

import pytest

from services.gateway.requests import Query, caller_name
from services.gateway.validation import Limits, check_batch, check_identifier, check_query, check_subject, check_tenant
from services.kernel.errors import AssayError, Reason


def reason_of(query: Query, limits: Limits | None = None) -> AssayError:
    with pytest.raises(AssayError) as raised:
        check_query(query, query.text.encode(), limits or Limits())
    return raised.value


@pytest.mark.parametrize("text", ["", " ", "\t\n ", "\u3000", "\u00a0\u2003", "\u200b\ufeff", "\x00\x1f", "\u2028"])
def test_a_text_without_a_visible_character_is_blank(text: str) -> None:
    error = reason_of(Query(text))
    assert (error.reason, error.metadata) == (Reason.TEXT_BLANK, {"field": "text"})


@pytest.mark.parametrize("text", ["a", " 你", "\u200b好", "!", "🫨", "\n.\n", "\u0301"])
def test_one_visible_character_is_enough(text: str) -> None:
    check_query(Query(text), text.encode(), Limits())


def test_length_is_counted_in_bytes_of_utf8() -> None:
    fits = "好" * 21_845 + "a"
    check_query(Query(fits), fits.encode(), Limits())
    error = reason_of(Query(fits + "b"))
    assert error.reason is Reason.TEXT_TOO_LARGE
    assert error.metadata == {"field": "text", "bytes": "65537", "limit": "65536"}


@pytest.mark.parametrize("request_id", ["x" * 129, "é", "a\nb", "\x7f", "编号"])
def test_a_request_id_is_short_printable_ascii_and_is_not_repeated(request_id: str) -> None:
    error = reason_of(Query("text", request_id=request_id))
    assert error.reason is Reason.FIELD_INVALID
    assert error.metadata["field"] == "request_id"
    assert request_id not in error.metadata["value"]


def test_a_request_id_of_128_characters_passes() -> None:
    check_identifier("request_id", "~" * 127 + " ")


@pytest.mark.parametrize("field", ["model", "model_version", "industry"])
def test_a_name_may_be_anything_that_is_short(field: str) -> None:
    check_query(Query("text", **{field: "不存在 ☃"}), b"text", Limits())
    error = reason_of(Query("text", **{field: "好" * 43}))
    assert (error.reason, error.metadata["field"]) == (Reason.FIELD_INVALID, field)


@pytest.mark.parametrize(
    ("claimed", "tenant"),
    [(None, "default"), ("", "default"), ("bank-1.eu_west", "bank-1.eu_west"), ("a" * 64, "a" * 64)],
)
def test_a_tenant_is_a_short_name(claimed: str | None, tenant: str) -> None:
    assert check_tenant("x-assay-tenant", claimed) == tenant


@pytest.mark.parametrize("claimed", ["a" * 65, "1st", "13800138000", "-a", "a b", "a/b", " a", "a\n", "行", b"bank"])
def test_another_is_refused_by_its_key_and_not_repeated(claimed: str | bytes) -> None:
    with pytest.raises(AssayError) as refused:
        check_tenant("x-assay-tenant", claimed)
    assert refused.value.reason is Reason.FIELD_INVALID
    assert refused.value.metadata["field"] == "x-assay-tenant"
    assert refused.value.metadata["value"].startswith(f"{len(claimed) if isinstance(claimed, str) else 0} characters")


def test_a_subject_is_any_short_printable_ascii() -> None:
    assert check_subject("x-assay-subject", None) == ""
    assert check_subject("x-assay-subject", " li.wei@example.com ") == "li.wei@example.com"
    for claimed in ("x" * 257, "李伟", "a\tb", "  ", b"bytes"):
        with pytest.raises(AssayError) as refused:
            check_subject("x-assay-subject", claimed)
        assert refused.value.metadata["field"] == "x-assay-subject"


@pytest.mark.parametrize("texts", [1, 256])
def test_batches_of_1_to_256_pass(texts: int) -> None:
    check_batch(texts, Limits())


def test_other_batches_do_not() -> None:
    with pytest.raises(AssayError) as empty:
        check_batch(0, Limits())
    assert (empty.value.reason, empty.value.metadata["limit"]) == (Reason.BATCH_EMPTY, "1 to 256")
    with pytest.raises(AssayError) as large:
        check_batch(257, Limits())
    assert large.value.metadata == {"field": "requests", "items": "257", "limit": "256"}


@pytest.mark.parametrize(
    ("claimed", "name"),
    [
        ("teller-7", "teller-7"),
        (" padded ", "padded"),
        (None, "anonymous"),
        ("", "anonymous"),
        ("x" * 129, "anonymous"),
        ("名", "anonymous"),
        ("a\x00b", "anonymous"),
        (b"bytes", "anonymous"),
    ],
)
def test_a_caller_is_named_as_it_says_if_that_is_a_name(claimed: str | bytes | None, name: str) -> None:
    assert caller_name(claimed) == name
