"""Which runs of digits are telephone numbers, by how they are written, and the one form that each number has."""

from __future__ import annotations

import re
from collections.abc import Sequence

import phonenumbers

Groups = tuple[int, ...]
"""How many digits stand together, from left to right: (3, 4, 4) for 138 0013 8000."""

_CHINA = 86
_LONGEST_CODE = 3
_E164_DIGITS = (7, 15)
MOBILE = re.compile(r"1[3-9][0-9]{9}", re.ASCII)
# How people write the eleven digits. Only these: "1998-12-25 123" has eleven digits as well.
_MOBILE_GROUPS = frozenset(
    {
        *((11,), (3, 4, 4), (3, 3, 5), (3, 8), (7, 4), (4, 4, 3), (4, 3, 4), (5, 6), (6, 5)),
        *((3, 4, 2, 2), (3, 2, 2, 4), (3, 2, 2, 2, 2), (3, 3, 3, 2), (3, 2, 3, 3), (2, 3, 3, 3), (1,) * 11),
    }
)
# Area code and subscriber's number.
_LANDLINE = re.compile(r"0(?:10|2[0-9]|[3-9][0-9]{2})[2-8][0-9]{6,7}", re.ASCII)
_LANDLINE_GROUPS = frozenset(
    {
        *((10,), (11,), (12,), (3, 7), (3, 8), (4, 7), (4, 8), (3, 4, 4), (4, 3, 4), (4, 4, 4), (4, 4, 3)),
        *((3, 3, 4), (1,) * 11, (1,) * 12),
    }
)
# Numbers of other countries as they are written at home, with the 0 that stands for the country.
_TRUNK_GROUPS = frozenset(
    {(2, 4, 4), (3, 4, 4), (3, 8), (5, 6), (5, 3, 3), (4, 3, 3), (4, 3, 4), (3, 3, 4), (4, 6), (4, 7), (3, 7)}
)
_YEARS = re.compile(r"(?:19|20)[0-9]{2}(?:19|20)[0-9]{2}$", re.ASCII)
_NORTH_AMERICA = re.compile(r"1?[2-9][0-9]{2}[2-9][0-9]{6}", re.ASCII)
_NORTH_AMERICA_GROUPS = frozenset({(3, 3, 4), (1, 3, 3, 4), (3, 7)})
_HOTLINE = re.compile(r"[48]00[0-9]{7}", re.ASCII)
_HOTLINE_GROUPS = frozenset({(3, 3, 4), (3, 4, 3)})


def national(digits: str, groups: Groups, even: bool) -> str | None:
    """Returns a number's E.164 digits; None when these digits, grouped so, are none.

    `even`: the same stands between all groups.
    """
    count = len(digits)
    first = digits[0]
    if first == "1":
        if groups in _MOBILE_GROUPS and MOBILE.fullmatch(digits):
            return f"86{digits}"
        if count == 11 and groups in _NORTH_AMERICA_GROUPS and _NORTH_AMERICA.fullmatch(digits):
            return digits
    elif first == "8" and digits.startswith("86"):
        rest = _behind(groups, 2)
        if rest in _MOBILE_GROUPS and MOBILE.fullmatch(digits, 2):
            return digits
        if rest in _LANDLINE_GROUPS and len(groups) > 1 and _LANDLINE.fullmatch(digits, 2):
            return f"86{digits[3:]}"
    elif first == "0":
        return _with_zero(digits, groups, even)
    if count == 10 and len(groups) > 1:
        if groups in _HOTLINE_GROUPS and _HOTLINE.fullmatch(digits):
            return f"86{digits}"
        if groups in _NORTH_AMERICA_GROUPS and _NORTH_AMERICA.fullmatch(digits):
            return f"1{digits}"
    return None


def _with_zero(digits: str, groups: Groups, even: bool) -> str | None:
    if groups in _LANDLINE_GROUPS and _LANDLINE.fullmatch(digits):
        return f"86{digits[1:]}"
    if digits.startswith("00"):
        if len(digits) >= 10 and (len(groups) > 1 or len(digits) <= 15):
            return international(digits[2:], certain=True)
        return None
    if len(digits) == 12 and MOBILE.fullmatch(digits, 1) and _behind(groups, 1) in _MOBILE_GROUPS:
        return f"86{digits[1:]}"
    # Whose country it is can't be known; it gets China's code so that it has one form.
    return f"86{digits[1:]}" if even and groups in _TRUNK_GROUPS and not _YEARS.search(digits) else None


def _behind(groups: Groups, count: int) -> Groups:
    """Returns the groups without the first `count` digits; empty when those end within a later group."""
    if groups[0] == count:
        return groups[1:]
    return (groups[0] - count, *groups[1:]) if groups[0] > count else ()


def international(digits: str, certain: bool) -> str | None:
    """Returns the E.164 digits of a number with its country's code; None when there is no such number.

    `certain`: the number must be one that is given out, else one that could be, by its length.
    """
    least, most = _E164_DIGITS
    if not least <= len(digits) <= most or digits[0] == "0":
        return None
    for length in range(1, _LONGEST_CODE + 1):
        code = int(digits[:length])
        if code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            rest = digits[length:]
            if code == _CHINA:
                if MOBILE.fullmatch(rest):
                    return digits
                rest = rest.removeprefix("0")
            elif code != 39:  # in Italy alone the 0 stays
                rest = rest.removeprefix("0")
            if not rest:
                return None
            number = phonenumbers.PhoneNumber(country_code=code, national_number=int(rest))
            number.italian_leading_zero = code == 39 and rest.startswith("0")
            check = phonenumbers.is_valid_number if certain else phonenumbers.is_possible_number
            return f"{code}{rest}" if check(number) else None
    return None


def longest_international(digits: Sequence[str]) -> tuple[int, str] | None:
    """Reads groups of digits behind a plus; returns how many groups the number takes, and its E.164 digits."""
    joined = ["".join(digits[:count]) for count in range(1, len(digits) + 1)]
    for certain in (True, False):
        for count in range(len(joined), 0, -1):
            found = international(joined[count - 1], certain)
            if found is not None:
                return count, found
    return None
