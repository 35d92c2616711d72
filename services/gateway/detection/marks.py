"""Words that say what the number behind them is. With one, a form that is too weak by itself is enough."""

from __future__ import annotations

import re

_REACH = 24  # characters before a number that are looked at
_BETWEEN = (
    r"(?:[\s:#=，,]|号码?|number|num|nr|no|is|was|at|on|to|me|us|为|是|：|（|\(|\.|“|\"|'|【|\[|"
    r"\u200b|\u200c|\u200d|\ufeff|\u2060){0,8}$"
)


_BEFORE = re.compile(
    r"(?:(?P<resident_id>身份证|证件号码?|\bid card|resident id|identity card)"
    r"|(?P<bank_card>银行卡|信用卡|储蓄卡|借记卡|卡号|\bcard)"
    r"|(?P<us_ssn>\bssn|social security)"
    r"|(?P<phone>电话|座机|固话|手机|传真|热线|致电|来电|拨打|联系方式"
    r"|\btel(?:ephone)?|phone|\bfax|\bcall|mobile|\bcell|\bdial|\btext))" + _BETWEEN,
    re.IGNORECASE,
)
_LENGTHS = {
    "resident_id": frozenset({15, 18}),
    "bank_card": frozenset(range(13, 20)),
    "us_ssn": frozenset({9}),
    "phone": frozenset(range(7, 13)),
}
MARKED_LENGTHS = frozenset().union(*_LENGTHS.values())
"""How many digits a number can have for a word before it to tell its kind."""

PASSPORT = re.compile(r"护照|passport", re.IGNORECASE)


def kind_by_mark(text: str, place: int, digits: str) -> str | None:
    """Returns what the words before `place` say that a number of these digits is.

    `digits` may end in X. None when they say nothing, or of something that has another number of digits.
    """
    match = _BEFORE.search(text, max(0, place - _REACH), place)
    if match is None or match.lastgroup is None or len(digits) not in _LENGTHS[match.lastgroup]:
        return None
    return match.lastgroup
