import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel.errors import AssayError, Reason
from services.kernel.paging import MAX_PAGE_BYTES, cut, decode_token, encode_token, fitting, page_size

FILTERS = {"caller": "a", "start": 5, "model": None}


@pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_page_size_is_clamped(asked: int, given: int) -> None:
    assert page_size(asked) == given


def test_negative_page_size_is_refused() -> None:
    with pytest.raises(AssayError) as caught:
        page_size(-3)
    assert caught.value.reason is Reason.FIELD_INVALID
    assert caught.value.metadata == {"field": "page_size", "value": "-3", "limit": "0 to 1000"}


@settings(deadline=None)
@given(
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    st.text(max_size=30),
)
def test_token_leads_back_to_its_position(time: int, key: str, caller: str) -> None:
    filters = {"caller": caller}
    token = encode_token((time, key), filters)
    assert decode_token(token, filters, (int, str)) == (time, key)
    assert "=" not in token


def test_empty_token_is_the_first_page() -> None:
    assert decode_token("", FILTERS, (int,)) is None


def test_order_of_filters_does_not_matter() -> None:
    token = encode_token((1,), {"a": 1, "b": 2})
    assert decode_token(token, {"b": 2, "a": 1}, (int,)) == (1,)


@pytest.mark.parametrize(
    "other",
    [{}, {"caller": "b", "start": 5, "model": None}, {"caller": "a", "start": None, "model": 5}, FILTERS | {"x": 1}],
)
def test_token_of_other_filters_is_refused(other: dict[str, str | int | None]) -> None:
    token = encode_token((1, "k"), FILTERS)
    with pytest.raises(AssayError) as caught:
        decode_token(token, other, (int, str))
    assert caught.value.reason is Reason.PAGE_TOKEN_INVALID
    assert caught.value.metadata == {"field": "page_token"}


def _made_up(body: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")


GOOD = json.loads(base64.urlsafe_b64decode(encode_token((1, "k"), FILTERS) + "=="))


@pytest.mark.parametrize(
    "token",
    [
        "!",
        "é",
        "a",
        "abcd",
        "\ud800",
        "A" * 5000,
        _made_up(7),
        _made_up(None),
        _made_up([]),
        _made_up([1]),
        _made_up({"a": 1, "b": 2}),
        _made_up([2, *GOOD[1:]]),
        _made_up([*GOOD[:2], "1", "k"]),
        _made_up([*GOOD[:2], True, "k"]),
        _made_up([*GOOD[:2], 2**63, "k"]),
        _made_up([*GOOD[:2], 1, "\ud800"]),
        _made_up([*GOOD[:2], 1, "\0"]),
        _made_up([*GOOD[:2], 1]),
        _made_up([*GOOD[:2], 1, ["k"]]),
        _made_up([*GOOD, 1]),
        base64.urlsafe_b64encode(b"[" * 600).decode(),
    ],
)
def test_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(AssayError) as caught:
        decode_token(token, FILTERS, (int, str))
    assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_refused(token: str) -> None:
    if token:
        with pytest.raises(AssayError):
            decode_token(token, FILTERS, (int, str))


def test_pages_cover_everything_once() -> None:
    rows = list(range(10))
    seen: list[int] = []
    token = ""
    while True:
        after = decode_token(token, FILTERS, (int,))
        rest = [row for row in rows if after is None or row > int(after[0])]
        page, token = cut(rest[:4], 3, FILTERS, lambda row: (row,))
        seen += page
        if not token:
            break
    assert seen == rows


def test_a_page_ends_before_it_is_too_large_and_has_at_least_one_item() -> None:
    sizes = [MAX_PAGE_BYTES // 2, MAX_PAGE_BYTES // 2, 1, 5 * MAX_PAGE_BYTES, 1]
    counts = []
    while sizes:
        counts.append(fitting(sizes, lambda size: size))
        sizes = sizes[counts[-1] :]
    assert counts == [2, 1, 1, 1]
    assert fitting([], lambda size: size) == 0
