import pytest

from services.kernel.echo import echo


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", ""),
        ("0197a-b", "0197a-b"),
        ("中文", "中文"),
        ("a\nb\x1b[31m\u202e\u0000", "a?b?[31m??"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 63 + "…"),
        ("\n" * 1_000_000, "?" * 63 + "…"),
    ],
    ids=["empty", "id", "chinese", "unprintable", "at the limit", "above it", "far above it"],
)
def test_what_is_said_back_is_short_and_printable(value: str, shown: str) -> None:
    assert echo(value) == shown
