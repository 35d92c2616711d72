"""Masking: personal data in a text becomes typed tokens, `[phone:3fa9c2d1]`, before a person sees it.

Finds e-mail addresses, Chinese resident IDs (18 and 15 digits), phone numbers (mobile, landline, international), bank
cards, and takes any other run of 7 or more digits as well; half- and full-width, with separators, and next to Chinese
characters, where a regular expression's word boundary does not exist. Rather too much than too little: a date in
digits is masked too. Every pattern is linear in the text: each repetition is bounded or followed by a character that
it can't match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import re2

from services.gateway.pseudonyms import Pseudonyms

# Full-width ASCII (U+FF01 to U+FF5E) to the ordinary one, character for character, so that positions stay.
_HALF_WIDTH = {0xFF01 + offset: 0x21 + offset for offset in range(94)} | {0x3000: 0x20}

# What people put between digits: spaces, hyphens and dashes, dots, brackets, slashes, and characters without width.
_SEPARATOR = r"[ \t\u00a0\-\u2010-\u2015\u2212._·/()\u200b-\u200d\u2060\ufeff]"
_DIGITS = re.compile(rf"\+?\(?[0-9](?:{_SEPARATOR}{{0,3}}[0-9]){{6,}}(?:{_SEPARATOR}{{0,3}}[Xx](?![A-Za-z]))?")
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}$")
_DOMAIN = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_LOCAL_LENGTH = 64

_BIRTH_18 = re.compile(r"[1-9][0-9]{5}(?:18|19|20|21)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9X]")
_BIRTH_15 = re.compile(r"[1-9][0-9]{7}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}")
_MOBILE = re.compile(r"(?:\+?86|0086)?1[3-9][0-9]{9}")
_LANDLINE = re.compile(r"(?:\+?86|0086)?0?[1-9][0-9]{1,2}[2-9][0-9]{6,7}")
_INTERNATIONAL = re.compile(r"(?:\+|00)[1-9][0-9]{6,14}")
_CARD = re.compile(r"[2-6][0-9]{12,18}")
_UNIONPAY = re.compile(r"62[0-9]{14,17}")


# Of a tenant's pattern: RE2 is linear in the text whatever the pattern, but its factor is the program's size.
_PROGRAM_SIZE = 2000


class PatternError(ValueError):
    """A tenant's pattern can't be used; the text says why."""


def compile_pattern(pattern: str) -> Any:
    """Compiles a tenant's pattern, in RE2's syntax.

    Raises:
        PatternError: it is none, it is too large, or it matches the empty text.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        words = error.args[0]
        raise PatternError(words.decode(errors="replace") if isinstance(words, bytes) else str(words)) from None
    if compiled.programsize > _PROGRAM_SIZE:
        raise PatternError(f"it compiles to {compiled.programsize} instructions; {_PROGRAM_SIZE} at most")
    if compiled.search("") is not None:
        raise PatternError("it matches the empty text")
    return compiled


@dataclass(frozen=True, slots=True)
class MaskedText:
    """A text without personal data, and how many values of each kind were taken out."""

    text: str
    found: tuple[tuple[str, int], ...] = ()


class Masker:
    """Masks with the pseudonyms of one key: the same value gives the same token, whatever its spelling."""

    def __init__(self, pseudonyms: Pseudonyms, patterns: Mapping[str, str] | None = None) -> None:
        """`patterns`: kinds of the tenant's own and the regular expressions that find them."""
        self._pseudonyms = pseudonyms
        self._patterns = {kind: compile_pattern(pattern) for kind, pattern in (patterns or {}).items()}

    def mask(self, text: str) -> MaskedText:
        """Returns the text with a token in the place of each value found."""
        spans = _spans(text.translate(_HALF_WIDTH))
        if not spans:
            return MaskedText(text)
        pieces: list[str] = []
        found: dict[str, int] = {}
        end = 0
        for start, stop, kind, value in spans:
            pieces += text[end:start], f"[{kind}:{self._pseudonyms.of_value(kind, value)}]"
            found[kind] = found.get(kind, 0) + 1
            end = stop
        pieces.append(text[end:])
        return MaskedText("".join(pieces), tuple(sorted(found.items())))


def _spans(plain: str) -> list[tuple[int, int, str, str]]:
    """Returns start, stop, kind and canonical value of each find, in order, none overlapping."""
    spans = _emails(plain)
    for start, stop in _gaps(spans, len(plain)):
        for match in _DIGITS.finditer(plain, start, stop):
            value = "".join(character for character in match[0] if character in "+0123456789Xx").upper()
            spans.append((match.start(), match.end(), _kind(value), value.lstrip("+")))
    return sorted(spans)


def _emails(plain: str) -> list[tuple[int, int, str, str]]:
    spans: list[tuple[int, int, str, str]] = []
    at = plain.find("@")
    end = 0
    while at >= 0:
        # Both sides are looked for from the sign outwards; from the start of the text it would take quadratic time.
        local = _LOCAL_PART.search(plain[max(end, at - _LOCAL_LENGTH) : at])
        domain = _DOMAIN.match(plain, at + 1)
        if local and domain:
            start, end = at - len(local[0]), domain.end()
            spans.append((start, end, "email", plain[start:end].lower()))
        at = plain.find("@", at + 1)
    return spans


def _gaps(spans: list[tuple[int, int, str, str]], length: int) -> list[tuple[int, int]]:
    edges = [(0, 0), *((start, stop) for start, stop, _, _ in spans), (length, length)]
    return [(left[1], right[0]) for left, right in pairwise(edges)]


def _kind(value: str) -> str:
    """Names a run of digits by its form; `value` has no separators and may start with + or end in X."""
    if _BIRTH_18.fullmatch(value) or _BIRTH_15.fullmatch(value):
        return "resident_id"
    if _MOBILE.fullmatch(value):
        return "phone"
    if _UNIONPAY.fullmatch(value) or (_CARD.fullmatch(value) and _luhn(value)):
        return "bank_card"
    if _INTERNATIONAL.fullmatch(value) or _LANDLINE.fullmatch(value):
        return "phone"
    return "number"


def _luhn(digits: str) -> bool:
    """Checks the last digit of a card number (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
