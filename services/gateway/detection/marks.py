"""Words that say what the number behind them is. With one, a form that is too weak by itself is enough."""

from __future__ import annotations

import re

_REACH = 24  # characters before a number that are looked at
_BETWEEN = (
    r"(?:[\s:#=，,]|号码?|number|num|nr|no|is|was|at|on|to|me|us|为|是|：|（|\(|\.|“|\"|'|【|\[|"
    r"\u200b|\u200c|\u200d|\ufeff|\u2060){0,8}$"
)


def _before(words: str) -> re.Pattern[str]:
    return re.compile(f"(?:{words}){_BETWEEN}", re.IGNORECASE)


_PHONE = _before(
    r"电话|座机|固话|手机|传真|热线|致电|来电|拨打|联系方式|\btel(?:ephone)?|phone|\bfax|\bcall|mobile|\bcell|\bdial|\btext"
)
_CARD = _before(r"银行卡|信用卡|储蓄卡|借记卡|卡号|\bcard")
_IDENTITY = _before(r"身份证|证件号码?|\bid card|resident id|identity card")
_SECURITY = _before(r"\bssn|social security")
PASSPORT = re.compile(r"护照|passport", re.IGNORECASE)


def kind_by_mark(text: str, place: int, digits: str) -> str | None:
    """Returns what the words before `place` say that a number of these digits is.

    `digits` may end in X. None when they say nothing, or of something that has another number of digits.
    """
    before = text[max(0, place - _REACH) : place]
    count = len(digits)
    if count in (15, 18) and _IDENTITY.search(before):
        return "resident_id"
    if 13 <= count <= 19 and _CARD.search(before):
        return "bank_card"
    if count == 9 and _SECURITY.search(before):
        return "us_ssn"
    if 7 <= count <= 12 and _PHONE.search(before):
        return "phone"
    return None
