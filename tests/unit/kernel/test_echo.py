import pytest

from services.kernel.echo import echo


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", ""),
        ("0197a-b", "0197a-b"),
        ("01a20a6a-cafb-75a6-94db-3b37a12be1ec", "01a20a6a-cafb-75a6-94db-3b37a12be1ec"),
        ("中文", "[hidden]"),
        ("13800138000", "[hidden]"),
        ("a\nb\x1b[31m\u202e\u0000", "[hidden]"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 63 + "…"),
        ("\n" * 1_000_000, "[hidden]"),
    ],
    ids=["empty", "id", "uuid", "chinese", "digits", "unprintable", "at the limit", "above it", "far above it"],
)
def test_what_is_said_back_is_short_and_not_personal(value: str, shown: str) -> None:
    assert echo(value) == shown
