"""Finds what is personal in a cluster of digits: groups of digits with at most three separators between them.

A value begins where a group begins and ends where one ends, and its digits must be grouped as people write that kind.
Of several readings the longest counts, then the one with the stronger check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import islice, pairwise
from typing import NamedTuple

from stdnum import numdb
from stdnum.cn import uscc
from stdnum.us import ssn

from services.gateway.detection.cards import is_card
from services.gateway.detection.effort import Effort
from services.gateway.detection.marks import MARKED_LENGTHS as _MARKED_LENGTHS
from services.gateway.detection.marks import kind_by_mark
from services.gateway.detection.phones import Groups, longest_international, national
from services.gateway.detection.shape import Shape

Span = tuple[int, int]

_GROUP = re.compile(rb"[0-9]+")
_HAS_DIGIT = re.compile(rb"[0-9]")
_MOST_GROUPS = 8
_LEAST_DIGITS, _MOST_DIGITS = 7, 19
_EFFORT_OF_A_COUNTY = 4
_EFFORT_OF_A_PLUS = 5

# GB 11643: place (GB/T 2260), date of birth, serial number, check character.
_PLACE = r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[123])[0-9]{4}"
_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_RESIDENT_18 = re.compile(_PLACE + r"(?:19|20)[0-9]{2}" + _DAY + r"[0-9]{3}[0-9X]", re.ASCII)
_RESIDENT_15 = re.compile(_PLACE + r"[0-9]{2}" + _DAY + r"[0-9]{3}", re.ASCII)
# What stands before a number and belongs to it; a bracket only if it is closed within.
_LEAD = re.compile(rb"(?:\(?\+ ?\(?|\()$")
_CHECK_X = re.compile(rb"[ .\-/()_]{0,3}[Xx](?![0-9A-Za-z])")
_RESIDENT_15_GROUPS = frozenset({(15,), (6, 6, 3), (6, 9), (3, 3, 6, 3), (3, 3, 3, 3, 3), (1,) * 15})

_LEAST_CARD_BESIDE_LETTERS = 16

_PASSPORT = re.compile(rb"(?:[EG][0-9]{8}|E[A-HJ-NP-Z][0-9]{7}|[DSP]E?[0-9]{7}|[DSP][0-9]{8})")
_CREDIT_CODE_SEPARATORS = 5
_REGISTRANTS = "12359"  # the second character: what sort of body it is
_DATE = re.compile(
    rb"[0-9]{1,2}[-/. ][0-9]{1,2}[-/. ](?:19|20)[0-9]{2}(?![0-9])"
    rb"|(?:19|20)[0-9]{2}(?:[-/. ](?:0?[1-9]|1[0-2])[-/. ]|(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?![0-9]))"
)
_CREDIT_CODE = re.compile(rb"[0-9A-HJ-NPQRTUWXYa-hj-npqrtuwxy](?:[ -]?[0-9A-HJ-NPQRTUWXYa-hj-npqrtuwxy]){17}")
_VERSION_BEFORE = re.compile(
    r"(?:\bv|version|\bver\.?|release|build|版本?号?|章节?|第|section|§)[\s:：=]{0,2}$", re.IGNORECASE
)
_TOKEN = 16  # so far letters and digits beside a value are looked at
_STRONG_BESIDE_LETTERS = frozenset({"resident_id", "bank_card", "phone"})


def is_county(code: str) -> bool:
    """Whether six digits name a county of China, of today or of before (GB/T 2260), as python-stdnum lists them."""
    return any("county" in properties for _, properties in numdb.get("cn/loc").info(code))


class Found(NamedTuple):
    """A value's place in the shape, its kind and its one form."""

    start: int
    stop: int
    kind: str
    value: str


def in_cluster(text: str, shape: Shape, start: int, stop: int, effort: Effort) -> Iterator[Found]:
    """Yields the values between two places of the shape.

    Raises:
        Exhausted: there was more to look at than is worth it; what was yielded stands.
    """
    groups = _GROUP.finditer(shape.data, start, stop)
    window = [match.span() for match in islice(groups, _MOST_DIGITS)]
    more = len(window) == _MOST_DIGITS
    reader = _Cluster(text, shape, effort)
    # A value has at least seven digits, so it does not begin in the last few places.
    while window and (more or stop - window[0][0] >= _LEAST_DIGITS or window[0][0] == start):
        effort.spend()
        used, found = reader.at(window)
        # A credit code or an X may reach into what looked like further groups.
        end = 0
        if found is not None:
            yield found
            end = found.stop
        del window[:used]
        if more:
            window += [match.span() for match in islice(groups, _MOST_DIGITS - len(window))]
            more = len(window) == _MOST_DIGITS
        while window and window[0][0] < end:
            del window[0]


class _Cluster:
    def __init__(self, text: str, shape: Shape, effort: Effort) -> None:
        self._text = text
        self._shape = shape
        self._data = shape.data
        self._effort = effort

    def at(self, window: list[Span]) -> tuple[int, Found | None]:
        """Reads a value that begins with the first group; returns how many groups it takes, 1 when there is none."""
        data = self._data
        start, stop = window[0]
        beside = _is_alphanumeric(data, start - 1)
        if beside:
            left = self._letters_before(start)
            if (found := self._lettered(left, start, stop)) is not None:
                return 1, found
            # As in the last part of a UUID, "-d16950386168".
            if _HAS_DIGIT.search(data, left, start) or data[max(0, left - 1) : left] in (b"-", b"_"):
                return 1, None
        elif (len(window) > 1 or _is_alphanumeric(data, stop)) and (found := self._credit_code(start)) is not None:
            return 1, found
        if data[start - 1 : start] == b"+" or data[max(0, start - 2) : start] == b"+ ":
            self._effort.spend(_EFFORT_OF_A_PLUS)
            count = 1 + self._singles(window, 1) if len(window) > 1 else 1
            digits = [data[a:b].decode() for a, b in window[: max(count, _MOST_GROUPS)]]
            taken = longest_international(digits)
            if taken is not None:
                return taken[0], self._found(window, taken[0], "phone", taken[1])
        if len(window) == 1:
            if _LEAST_DIGITS <= stop - start <= _MOST_DIGITS:
                return 1, self._together(window, 1, beside)
            return 1, None
        if stop - start == 1:
            singles = self._singles(window, 0)
            if singles > 2:
                return singles, self._together(window, singles, beside)
        if _DATE.match(data, start):
            return 1, None
        if stop - start <= 3 and len(window) >= 4 and (value := self._address(window[:5])) is not None:
            return 4, Found(start, window[3][1], "ip", value)
        if len(window) > 2 and (singles := self._singles(window, 1)) > 2:
            found = self._together(window, 1 + singles, beside)
            return (1 if found is None else 1 + singles), found
        return self._longest(window[:_MOST_GROUPS], beside)

    def _longest(self, window: list[Span], beside: bool) -> tuple[int, Found | None]:
        """Reads the longest value of the first groups."""
        lengths = tuple(b - a for a, b in window)
        total = sum(lengths)
        for count in range(len(window), 0, -1):
            if _LEAST_DIGITS <= total <= _MOST_DIGITS:
                found = self._together(window, count, beside)
                if found is not None:
                    return count, found
            total -= lengths[count - 1]
        return 1, None

    def _singles(self, window: list[Span], index: int) -> int:
        """Returns how many groups from this one on are of one digit, with the same between them."""
        count = 1
        previous = window[index]
        if previous[1] - previous[0] != 1:
            return 0
        between = None
        for start, stop in window[index + 1 :]:
            separator = self._data[previous[1] : start]
            if stop - start != 1 or (between is not None and separator != between):
                break
            between, previous = separator, (start, stop)
            count += 1
        return count

    def _together(self, window: list[Span], count: int, beside: bool) -> Found | None:
        """Reads the first `count` groups as one value."""
        data = self._data
        digits = "".join([data[a:b].decode() for a, b in window[:count]])
        groups = (len(digits),) if count == 1 else tuple([b - a for a, b in window[:count]])
        start, end = window[0][0], window[count - 1][1]
        found = self._read(window, count, digits, groups, start, end)
        return found if found is not None and self._alone(found, beside) else None

    def _read(self, window: list[Span], count: int, digits: str, groups: Groups, start: int, end: int) -> Found | None:
        total = len(digits)
        if total == 15 and groups in _RESIDENT_15_GROUPS and _RESIDENT_15.fullmatch(digits):
            # What may be either is a card's only where the number names no county of China.
            if not is_card(digits, groups):
                return self._found(window, count, "resident_id", digits)
            self._effort.spend(_EFFORT_OF_A_COUNTY)
            return self._found(window, count, "resident_id" if is_county(digits[:6]) else "bank_card", digits)
        if total in (17, 18) and (found := self._resident(start, end, digits)) is not None:
            return found
        if total >= 12 and is_card(digits, groups) and not self._is_fraction(start):
            return self._found(window, count, "bank_card", digits)
        if total == 18 and count <= _CREDIT_CODE_SEPARATORS and self._is_credit_code(digits):
            return Found(start, end, "credit_code", digits)
        if 10 <= total <= 17 and (value := national(digits, groups, self._evenly(window[:count]))) is not None:
            return self._found(window, count, "phone", value)
        if groups == (3, 2, 4) and self._evenly(window[:3]) and ssn.is_valid(digits):
            return self._found(window, count, "us_ssn", digits)
        if total in _MARKED_LENGTHS and self._plainly(window, count) and not _DATE.match(self._data, start):
            kind = kind_by_mark(self._text, self._shape.place(start), digits)
            if kind is not None:
                value = (national(digits, groups, even=True) or digits) if kind == "phone" else digits
                return self._found(window, count, kind, value)
        return None

    def _is_fraction(self, start: int) -> bool:
        before = self._data[max(0, start - 2) : start]
        return before[1:] == b"." and before[:1].isdigit()

    def _resident(self, start: int, end: int, digits: str) -> Found | None:
        stop = end
        if len(digits) == 17:
            check = _CHECK_X.match(self._data, end)
            if check is None:
                return None
            digits, stop = digits + "X", check.end()
        if (
            _RESIDENT_18.fullmatch(digits)
            or kind_by_mark(self._text, self._shape.place(start), digits) == "resident_id"
        ):
            return Found(start, stop, "resident_id", digits)
        return None

    def _credit_code(self, start: int) -> Found | None:
        """A unified social credit code (GB 32100) with a letter that begins here."""
        match = _CREDIT_CODE.match(self._data, start)
        if match is None or _is_alphanumeric(self._data, match.end()):
            return None
        value = match[0].translate(None, b" -").decode().upper()
        if (
            value.isdigit()
            or _RESIDENT_18.fullmatch(value)
            or len(match[0]) - len(value) > _CREDIT_CODE_SEPARATORS
            or not self._is_credit_code(value)
        ):
            return None
        return Found(start, match.end(), "credit_code", value)

    def _lettered(self, left: int, start: int, stop: int) -> Found | None:
        """A value that begins with letters: a passport's number, or a credit code of a newer kind."""
        if start - left <= 2 and not _is_alphanumeric(self._data, stop):
            token = self._data[left:stop]
            if _PASSPORT.fullmatch(token) and self._data[max(0, left - 1) : left] not in (b"-", b"_"):
                return Found(left, stop, "passport", token.decode())
        return self._credit_code(left) if start - left <= 1 else None

    def _letters_before(self, start: int) -> int:
        left = start
        while start - left < _TOKEN and _is_alphanumeric(self._data, left - 1):
            left -= 1
        return left

    def _alone(self, found: Found, beside: bool) -> bool:
        """Whether letters beside the value leave it one: only where its form is strong, and no digits follow them."""
        stop = found.stop
        behind = _is_alphanumeric(self._data, stop)
        if not (beside or behind):
            return True
        least = _LEAST_CARD_BESIDE_LETTERS if found.kind == "bank_card" else 11
        if found.kind not in _STRONG_BESIDE_LETTERS or stop - found.start < least:
            return False
        end = stop
        while end - stop < _TOKEN and _is_alphanumeric(self._data, end):
            end += 1
        return not _HAS_DIGIT.search(self._data, stop, end)

    def _address(self, window: list[Span]) -> str | None:
        """An IPv4 address in the first four groups, unless there is a fifth behind a dot, or it is a version's."""
        data = self._data
        for (_, end), (begin, _) in pairwise(window[:4]):
            if data[end:begin] not in (b".", b"\x82"):
                return None
        if len(window) > 4 and data[window[3][1] : window[4][0]] == b".":
            return None
        start = window[0][0]
        if data[start - 1 : start] == b"." or _VERSION_BEFORE.search(
            self._text[max(0, self._shape.place(start) - 12) : self._shape.place(start)]
        ):
            return None
        try:
            return str(IPv4Address(".".join(str(int(data[a:b])) for a, b in window[:4])))
        except ValueError:
            return None

    def _evenly(self, window: list[Span]) -> bool:
        """Whether the same thing stands between all groups."""
        return len(window) < 3 or len({self._data[end:begin] for (_, end), (begin, _) in pairwise(window)}) == 1

    def _plainly(self, window: list[Span], count: int) -> bool:
        """Whether groups stand together as a weak number's do: one piece, or all between hyphens or spaces."""
        if count < 2:
            return True
        between = {self._data[end:begin] for (_, end), (begin, _) in pairwise(window[:count])}
        return between in ({b"-"}, {b" "}) and (count < 4 or count == len(window) <= 5)

    @staticmethod
    def _is_credit_code(value: str) -> bool:
        return value[1] in _REGISTRANTS and bool(uscc.is_valid(value))

    def _found(self, window: list[Span], count: int, kind: str, value: str) -> Found:
        start, stop = window[0][0], window[count - 1][1]
        data = self._data
        if start and data[start - 1] in b"+( ":
            match = _LEAD.search(data, max(0, start - 4), start)
            if match is not None and (b"(" not in match[0] or b")" in data[start:stop]):
                start = match.start()
            elif data[start - 1] == 0x2B:
                start -= 1
        return Found(start, stop, kind, value)


def _is_alphanumeric(data: bytes, place: int) -> bool:
    """Whether there is an ASCII letter or digit at this place, which may lie outside."""
    return place >= 0 and data[place : place + 1].isalnum()
