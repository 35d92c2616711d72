"""Finds what is personal in a cluster of digits: groups of digits with at most three separators between them.

A value begins where a group begins and ends where one ends, and its digits must be grouped as people write that kind.
Of several readings the longest counts, then the one with the stronger check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import pairwise

from stdnum import luhn
from stdnum.cn import uscc
from stdnum.us import ssn

from services.gateway.detection.effort import Effort
from services.gateway.detection.marks import kind_by_mark
from services.gateway.detection.phones import Groups, longest_international, national
from services.gateway.detection.shape import Shape

_GROUP = re.compile(rb"[0-9]+")
_MOST_GROUPS = 8
_MOST_DIGITS = 19

# GB 11643: place (GB/T 2260), date of birth, serial number, check character.
_PLACE = r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[123])[0-9]{4}"
_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_RESIDENT_18 = re.compile(_PLACE + r"(?:18|19|20)[0-9]{2}" + _DAY + r"[0-9]{3}[0-9X]", re.ASCII)
_RESIDENT_15 = re.compile(_PLACE + r"[0-9]{2}" + _DAY + r"[0-9]{3}", re.ASCII)
_CHECK_X = re.compile(rb"[ .\-/()_]{0,3}[Xx](?![0-9A-Za-z])")
_RESIDENT_15_GROUPS = frozenset({(15,), (6, 6, 3), (6, 9), (3, 3, 6, 3), (3, 3, 3, 3, 3), (1,) * 15})

# Issuers' prefixes and lengths (ISO/IEC 7812): UnionPay, Visa, Mastercard, American Express, Diners, JCB, Discover,
# Mir, and the older numbers of Chinese banks and of Maestro.
_CARD = re.compile(
    r"62[0-9]{14,17}|81[0-9]{14,17}|4[0-9]{15}(?:[0-9]{3})?|5[1-5][0-9]{14}"
    r"|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}|3[47][0-9]{13}|3(?:0[0-59]|[689][0-9])[0-9]{11}"
    r"|3(?:0[0-59]|[689][0-9])[0-9]{13}|35[0-9]{14,17}|(?:2131|1800)[0-9]{11}"
    r"|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12,15}|220[0-4][0-9]{12,15}|(?:9558|955[0-9]|9843|940[0-9]|60[13][0-9])[0-9]{12,15}"
    r"|(?:50[0-9]{2}|5[6-9][0-9]{2}|6304|6390|67[0-9]{2}|0604)[0-9]{8,15}",
    re.ASCII,
)
_CARD_GROUPS = frozenset(
    {
        *((length,) for length in range(12, 20)),
        *((6, length) for length in range(7, 14)),
        *((4, 4, 4, 4), (4, 4, 4, 4, 1), (4, 4, 4, 4, 2), (4, 4, 4, 4, 3), (4, 4, 4, 3), (4, 4, 4, 2), (4, 4, 4, 1)),
        *((4, 4, 4, 7), (4, 4, 4, 6), (4, 4, 8), (4, 12), (4, 15), (4, 6, 5), (4, 6, 4), (6, 4, 4, 4), (6, 4, 4, 5)),
        *((8, 8), (8, 11), (6, 6, 4), (6, 6, 7), (5, 5, 5), (5, 5, 6)),
    }
)
# Believed without its check digit, as it is the number that people here carry.
_UNIONPAY = re.compile(r"62[0-9]{14,17}", re.ASCII)
_UNIONPAY_GROUPS = frozenset({(16,), (17,), (18,), (19,), (4, 4, 4, 4), (4, 4, 4, 4, 3), (6, 13), (6, 10)})
_LEAST_CARD_BESIDE_LETTERS = 16

_PASSPORT = re.compile(rb"(?:[EG][0-9]{8}|E[A-HJ-NP-Z][0-9]{7}|[DSP]E?[0-9]{7}|[DSP][0-9]{8})")
_CREDIT_CODE_SEPARATORS = 5
_DATE = re.compile(
    rb"(?:19|20)[0-9]{2}(?:[-/. ](?:0?[1-9]|1[0-2])[-/. ]|(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?![0-9]))"
)
_CREDIT_CODE = re.compile(rb"[0-9A-HJ-NPQRTUWXYa-hj-npqrtuwxy](?:[ -]?[0-9A-HJ-NPQRTUWXYa-hj-npqrtuwxy]){17}")
_VERSION_BEFORE = re.compile(
    r"(?:\bv|version|\bver\.?|release|build|版本?号?|章节?|第|section|§)[\s:：=]{0,2}$", re.IGNORECASE
)
_STRONG_BESIDE_LETTERS = frozenset({"resident_id", "bank_card", "phone"})


@dataclass(frozen=True, slots=True)
class Found:
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
    reader = _Cluster(text, shape, effort)
    window: list[tuple[int, int]] = []
    groups = _GROUP.finditer(shape.data, start, stop)
    ended = False
    while True:
        while not ended and len(window) < _MOST_DIGITS:
            match = next(groups, None)
            if match is None:
                ended = True
            else:
                window.append(match.span())
        if not window:
            return
        effort.spend()
        used, found = reader.at(window)
        if found is not None:
            yield found
        # A credit code or an X may reach into what looked like further groups.
        end = window[used - 1][1] if found is None else found.stop
        del window[:used]
        while window and window[0][0] < end:
            del window[0]


class _Cluster:
    def __init__(self, text: str, shape: Shape, effort: Effort) -> None:
        self._text = text
        self._shape = shape
        self._data = shape.data
        self._effort = effort

    def at(self, window: list[tuple[int, int]]) -> tuple[int, Found | None]:
        """Reads a value that begins with the first group; returns how many groups it takes, 1 when there is none."""
        data = self._data
        start, stop = window[0]
        left = self._letters_before(start)
        if left < start:
            if (found := self._lettered(left, start, stop)) is not None:
                return 1, found
        elif (found := self._credit_code(start)) is not None:
            return 1, found
        beside = left < start
        if beside and any(0x30 <= byte <= 0x39 for byte in data[left:start]):
            return 1, None
        signed = data[start - 1 : start] == b"+" or data[max(0, start - 2) : start] == b"+ "
        if signed:
            self._effort.spend(5)
            single = window[1:2] and window[1][1] - window[1][0] == 1
            digits = [data[a:b].decode() for a, b in window[: None if single else _MOST_GROUPS]]
            taken = longest_international(digits)
            if taken is not None:
                return taken[0], self._found(window, taken[0], "phone", taken[1])
        lengths = tuple(b - a for a, b in window)
        if lengths[0] <= 3 and len(window) >= 4 and (value := self._address(window[:5])) is not None:
            return 4, Found(start, window[3][1], "ip", value)
        most = len(window) if lengths[1:3] == (1, 1) else min(len(window), _MOST_GROUPS)
        total = sum(lengths[:most])
        for count in range(most, 0, -1):
            if total <= _MOST_DIGITS and total >= 7:
                end = window[count - 1][1]
                digits_here = "".join(data[a:b].decode() for a, b in window[:count])
                found = self._read(window, count, digits_here, lengths[:count], end)
                if found is not None and self._alone(found, beside):
                    return count, found
            total -= lengths[count - 1]
        return 1, None

    def _read(self, window: list[tuple[int, int]], count: int, digits: str, groups: Groups, end: int) -> Found | None:
        total = len(digits)
        start = window[0][0]
        even = count < 3 or self._evenly(window[:count])
        if groups == (1,) * total and not even:
            return None
        if total in (17, 18) and (found := self._resident(start, end, digits)) is not None:
            return found
        if total >= 12 and self._is_card(digits, groups, start):
            return self._found(window, count, "bank_card", digits)
        if total == 18 and uscc.is_valid(digits) and count <= _CREDIT_CODE_SEPARATORS:
            return Found(start, end, "credit_code", digits)
        if total == 15 and groups in _RESIDENT_15_GROUPS and _RESIDENT_15.fullmatch(digits):
            return self._found(window, count, "resident_id", digits)
        if 10 <= total <= 17 and (value := national(digits, groups, even)) is not None:
            return self._found(window, count, "phone", value)
        if groups == (3, 2, 4) and even and ssn.is_valid(digits):
            return self._found(window, count, "us_ssn", digits)
        if (count <= 3 or count == len(window) <= 5) and not _DATE.match(self._data, start):
            kind = kind_by_mark(self._text, self._shape.place(start), digits)
            if kind is not None:
                value = (national(digits, groups, even) or digits) if kind == "phone" else digits
                return self._found(window, count, kind, value)
        return None

    def _is_card(self, digits: str, groups: Groups, start: int) -> bool:
        if not (_CARD.fullmatch(digits) and (groups in _CARD_GROUPS or groups == (1,) * len(digits))):
            return False
        before = self._data[max(0, start - 2) : start]
        if before[1:] == b"." and before[:1].isdigit():
            return False  # a fraction
        return luhn.is_valid(digits) or bool(groups in _UNIONPAY_GROUPS and _UNIONPAY.fullmatch(digits))

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
        if match is None or _is_alphanumeric(self._data[match.end() : match.end() + 1]):
            return None
        value = match[0].translate(None, b" -").decode().upper()
        if (
            value.isdigit()
            or _RESIDENT_18.fullmatch(value)
            or len(match[0]) - len(value) > _CREDIT_CODE_SEPARATORS
            or not uscc.is_valid(value)
        ):
            return None
        return Found(start, match.end(), "credit_code", value)

    def _lettered(self, left: int, start: int, stop: int) -> Found | None:
        """A value that begins with letters: a passport's number, or a credit code of a newer kind."""
        if start - left <= 2 and not _is_alphanumeric(self._data[stop : stop + 1]):
            token = self._data[left:stop]
            if _PASSPORT.fullmatch(token) and self._data[max(0, left - 1) : left] not in (b"-", b"_"):
                return Found(left, stop, "passport", token.decode())
        return self._credit_code(left) if start - left <= 1 else None

    def _letters_before(self, start: int) -> int:
        left = start
        while left > 0 and start - left < 16 and _is_alphanumeric(self._data[left - 1 : left]):
            left -= 1
        return left

    def _alone(self, found: Found, beside: bool) -> bool:
        """Whether letters beside the value leave it one: only where its form is strong, and no digits follow them."""
        data = self._data
        stop = found.stop
        end = stop
        while end < len(data) and end - stop < 16 and _is_alphanumeric(data[end : end + 1]):
            end += 1
        if not beside and end == stop:
            return True
        least = _LEAST_CARD_BESIDE_LETTERS if found.kind == "bank_card" else 11
        if found.kind not in _STRONG_BESIDE_LETTERS or found.stop - found.start < least:
            return False
        return not any(0x30 <= byte <= 0x39 for byte in data[stop:end])

    def _address(self, window: list[tuple[int, int]]) -> str | None:
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

    def _evenly(self, window: list[tuple[int, int]]) -> bool:
        """Whether the same thing stands between all groups."""
        return len({self._data[end:begin] for (_, end), (begin, _) in pairwise(window)}) == 1

    def _found(self, window: list[tuple[int, int]], count: int, kind: str, value: str) -> Found:
        start, stop = window[0][0], window[count - 1][1]
        data = self._data
        if data[start - 1 : start] == b"(" and b")" in data[start:stop]:
            start -= 1
        if data[start - 1 : start] == b"+":
            start -= 1
        elif data[max(0, start - 2) : start] == b"+ ":
            start -= 2
        if data[start - 1 : start] == b"(" and b")" in data[start:stop]:
            start -= 1
        return Found(start, stop, kind, value)


def _is_alphanumeric(byte: bytes) -> bool:
    return byte.isalnum()
