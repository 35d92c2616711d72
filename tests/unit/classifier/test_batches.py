"""Which texts go together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.classifier.batches import GroupLimits, group_around

LIMITS = GroupLimits(rows=4, tokens=100, call_tokens=8)


def test_equal_lengths_fill_a_group() -> None:
    assert group_around([8, 8, 8, 8, 8, 8], 0, 4, LIMITS) == (0, 4)


def test_a_row_far_from_all_others_goes_alone() -> None:
    assert group_around([4, 40, 90], 1, 4, LIMITS) == (1, 2)


def test_the_nearer_neighbour_joins_first() -> None:
    assert group_around([10, 19, 20, 24], 2, 2, LIMITS) == (1, 3)


def test_a_row_longer_than_the_budget_goes_alone() -> None:
    assert group_around([512, 512], 0, 4, LIMITS) == (0, 1)


def test_fewer_rows_may_be_asked_for() -> None:
    first, end = group_around([8] * 10, 5, 2, LIMITS)
    assert end - first == 2


def test_a_row_joins_only_when_its_padding_costs_less_than_a_share_of_a_call() -> None:
    assert group_around([10, 18], 0, 4, LIMITS) == (0, 2)
    assert group_around([10, 19], 0, 4, LIMITS) == (0, 1)
    # A third would add 6 tokens of padding; two rows bear (8 + 0) / 2 = 4 each.
    assert group_around([14, 20, 20], 2, 4, LIMITS) == (1, 3)
    assert group_around([16, 20, 20], 2, 4, LIMITS) == (0, 3)


def test_any_neighbour_joins_where_rows_are_read_one_by_one() -> None:
    assert group_around([4, 12, 20], 1, 4, GroupLimits(rows=4, tokens=100)) == (0, 3)


@given(
    st.lists(st.integers(1, 512), min_size=1, max_size=40).map(sorted),
    st.data(),
    st.integers(1, 16),
    st.integers(1, 2048),
    st.integers(1, 40),
)
def test_a_group_holds_its_row_keeps_every_limit_and_costs_no_more_than_its_rows_alone(
    lengths: list[int], data: st.DataObject, rows: int, tokens: int, call_tokens: int
) -> None:
    index = data.draw(st.integers(0, len(lengths) - 1))
    first, end = group_around(lengths, index, rows, GroupLimits(rows, tokens, call_tokens))
    group = lengths[first:end]
    assert first <= index < end
    assert len(group) <= rows
    size = len(group) * group[-1]
    assert len(group) == 1 or size <= tokens
    assert call_tokens + size <= len(group) * call_tokens + sum(group)
