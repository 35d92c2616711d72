"""Finds personal data in a text: one linear scan (RE2) for what may be a value, then a check of each.

The scan works on the text's shape, so it sees every spelling alike; what it finds is short, and checked by the rules of
its kind (python-stdnum, phonenumbers, ipaddress). The time is linear in the length of the text, and bounded for what
costs more than the scan: a text with more candidates than are worth looking at is a list of data, not a sentence, and
its rest is taken as one value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import IPv6Address
from typing import Any

import phonenumbers
import re2
from stdnum import iban, numdb

from services.gateway.detection.effort import Effort, Exhausted
from services.gateway.detection.marks import PASSPORT
from services.gateway.detection.numbers import Found, in_cluster, is_county
from services.gateway.detection.shape import Shape, may_hold_values, plain_text, shape_of

DATA = "data"
"""The kind of a rest that is taken whole."""

_MOST_CANDIDATES = 1500
_SEPARATOR = rb"[ \t.\-/()_]{0,3}"
_NUMBER = rb"[0-9](?:" + _SEPARATOR + rb"[0-9]){6,}"
_IPV4 = rb"[0-9]{1,3}(?:[.\x82][0-9]{1,3}){3}"
_EMAIL = rb"[0-9A-Za-z.!#&'*+_~%-]+@(?:[0-9A-Za-z-]+[.\x82])+[A-Za-z]{2,24}"
_PLATE = rb"\x84[A-Za-z][ .\-]?(?:[0-9A-Za-z]{5,6}|[0-9A-Za-z]{4}\x86)|\x85[0-9]{3}\.[0-9]{3}"
_IPV6 = rb"(?:[0-9A-Fa-f]{0,4}:){2,8}(?:[0-9A-Fa-f]{1,4}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})?"
_IBAN = rb"\b[A-Za-z]{2}[0-9]{2}(?:[ \-]?[0-9A-Za-z]){11,30}"

_PLATE_FORM = re.compile(
    rb"[A-Z][0-9A-HJ-NP-Z]{5}|[A-Z][0-9]{5}[A-K]|[A-Z][A-K][0-9A-HJ-NP-Z][0-9]{4}|[A-Z][0-9A-Z]{4}"
)
_PASSPORT_BEHIND_MARK = re.compile(
    rb"(?:[^0-9A-Za-z]{0,6}(?:no|number|num|nr|is|id|was)\b){0,3}[^0-9A-Za-z]{0,10}"
    rb"([A-Za-z]{0,3}[ -]?[0-9][0-9A-Za-z]{4,9})(?![0-9A-Za-z])",
    re.IGNORECASE,
)
_LEAST_PLATE_DIGITS = 3


def _compile(*patterns: bytes) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True
    options.never_capture = True
    return re2.compile(b"|".join(patterns), options)


_CANDIDATES = _compile(_NUMBER, _IPV4, _EMAIL, _PLATE, _IPV6, _IBAN)


def find(text: str, patterns: Mapping[str, Any]) -> list[tuple[int, int, str, str]]:
    """Returns start, stop, kind and canonical value of each find, in order, none overlapping.

    `patterns`: kinds of a tenant's own, as compiled regular expressions.
    """
    shape = shape_of(text)
    if not (patterns or may_hold_values(shape.data)):
        return []
    effort = Effort(_MOST_CANDIDATES)
    found: list[Found] = []
    rest = len(shape.data)
    position = _Position()
    try:
        found.extend(_built_in(text, shape, effort, position))
        if "护照" in text or b"passport" in shape.data.lower():
            found.extend(_marked_passports(text, shape, effort, position))
    except Exhausted:
        rest = position.at
    if patterns:
        rest = min(rest, _own(plain_text(text, shape), patterns, found, Effort(_MOST_CANDIDATES)))
    if not found and rest == len(shape.data):
        return []
    return _settled(text, shape, found, rest)


def prepare() -> None:
    """Reads the tables that the checks need, so that no text waits for them; takes a fraction of a second."""
    phonenumbers.PhoneMetadata.load_all()
    iban.is_valid("GB82WEST12345698765432", check_country=False)
    is_county("110105")


class _Position:
    """Up to where a scan has come."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = 0


def _built_in(text: str, shape: Shape, effort: Effort, position: _Position) -> Iterator[Found]:
    data = shape.data
    while (match := _CANDIDATES.search(data, position.at)) is not None:
        start, stop = match.span()
        position.at = start
        effort.spend()
        first = data[start]
        window = data[start:stop]
        if b"@" in window:
            yield Found(start, stop, "email", window.replace(b"\x82", b".").decode().lower())
            position.at = stop
        elif first in (0x84, 0x85):
            found = _plate(text, shape, start, stop)
            if found is not None:
                yield found
            position.at = start + 1 if found is None else found.stop
        elif b":" in window:
            found = _ipv6(shape, start, stop)
            if found is not None:
                yield found
            position.at = start + window.index(b":") + 1 if found is None else found.stop
        elif 0x30 <= first <= 0x39:
            for found in in_cluster(text, shape, start, stop, effort):
                position.at = found.stop
                yield found
            position.at = max(position.at, stop)
        else:
            found = _iban(data, start, stop)
            if found is not None:
                yield found
            position.at = start + 2 if found is None else found.stop


def _plate(text: str, shape: Shape, start: int, stop: int) -> Found | None:
    data = shape.data
    head = text[shape.place(start)]
    if data[start] == 0x85:
        return Found(start, stop, "plate", head + data[start + 1 : stop].translate(None, b".").decode())
    while stop > start and data[stop - 1] >= 0x80:
        stop -= 1
    body = data[start + 1 : stop].translate(None, b" .-").upper()
    if not _PLATE_FORM.fullmatch(body) or data[stop : stop + 1].isalnum():
        return None
    if sum(0x30 <= byte <= 0x39 for byte in body) < _LEAST_PLATE_DIGITS:
        return None
    tail = ""
    if len(body) == 5:
        if data[stop : stop + 1] != b"\x86":
            return None
        tail = text[shape.place(stop)]
        stop += 1
    return Found(start, stop, "plate", head + body.decode() + tail)


def _ipv6(shape: Shape, start: int, stop: int) -> Found | None:
    data = shape.data
    if data[start : start + 1] == b":" and data[start + 1 : start + 2] != b":":
        start += 1
    elif data[start - 1 : start].isalnum() or data[start - 1 : start] == b":":
        return None
    if data[stop : stop + 1].isalnum() or data[stop : stop + 1] == b":":
        return None
    written = data[start:stop].decode().lower()
    for candidate in (written, written.rstrip(":")):
        try:
            address = IPv6Address(candidate)
        except ValueError:
            continue
        # "a::b" and "10::20" are programs and ratios.
        long = candidate.count(":") == 7 or any(len(part) >= 3 for part in candidate.split(":"))
        if (long or candidate == "::1") and any(character.isdigit() for character in candidate):
            return Found(start, start + len(candidate), "ip", str(address))
    return None


def _iban(data: bytes, start: int, stop: int) -> Found | None:
    """The IBAN that begins here: the words behind it may have been taken for groups of it."""
    length = _iban_length(data[start : start + 2].decode().upper())
    if not length:
        return None
    written = data[start:stop].translate(None, b" -")[:length].decode().upper()
    end = start
    for _ in range(length):
        while data[end : end + 1] in (b" ", b"-"):
            end += 1
        end += 1
    if len(written) < length or data[end : end + 1].isalnum() or not iban.is_valid(written, check_country=False):
        return None
    return Found(start, end, "iban", written)


@cache
def _iban_length(country: str) -> int:
    """Returns how long a country's IBAN are, from the registry that python-stdnum carries; 0: it has none."""
    ((_, properties), *_) = numdb.get("iban").info(country) or [("", {})]
    structure = re.findall(r"([0-9]+)!", properties.get("bban", ""))
    return 4 + sum(map(int, structure)) if structure else 0


def _marked_passports(text: str, shape: Shape, effort: Effort, position: _Position) -> Iterator[Found]:
    """Numbers of any country's form behind the word."""
    for mark in PASSPORT.finditer(text):
        place = mark.end()
        start = place if shape.places is None else int(shape.places.searchsorted(place))
        position.at = start
        effort.spend()
        match = _PASSPORT_BEHIND_MARK.match(shape.data, start)
        if match is not None and sum(0x30 <= byte <= 0x39 for byte in match[1]) >= 4:
            value = match[1].translate(None, b" -").decode().upper()
            yield Found(match.start(1), match.end(1), "passport", value)


def _own(plain: str, patterns: Mapping[str, Any], found: list[Found], effort: Effort) -> int:
    """Adds a tenant's own finds; returns up to where all patterns have looked."""
    through = len(plain)
    for kind, pattern in patterns.items():
        for match in pattern.finditer(plain):
            start, stop = match.span()
            if start == stop:
                continue
            try:
                effort.spend()
            except Exhausted:
                through = min(through, start)
                break
            found.append(Found(start, stop, kind, match[0]))
    return through


def _settled(text: str, shape: Shape, found: list[Found], rest: int) -> list[tuple[int, int, str, str]]:
    """Puts finds in order and into the text's places; of those that overlap one remains, over the places of all."""
    settled: list[Found] = []
    for value in sorted(found, key=lambda found: (found.start, -found.stop, found.kind)):
        if value.start >= rest:
            continue
        if settled and value.start < settled[-1].stop:
            before = settled[-1]
            if value.stop > before.stop:
                longer = value if value.stop - value.start > before.stop - before.start else before
                joined = text[shape.place(before.start) : shape.end(value.stop)]
                settled[-1] = Found(before.start, value.stop, longer.kind, joined)
            continue
        settled.append(value)
    if rest < len(shape.data):
        if settled and settled[-1].stop > rest:
            rest = settled[-1].stop
        settled.append(Found(rest, len(shape.data), DATA, text[shape.place(rest) :]))
        finds = [(shape.place(f.start), shape.end(f.stop), f.kind, f.value) for f in settled[:-1]]
        return [*finds, (shape.place(rest), len(text), DATA, settled[-1].value)]
    return [(shape.place(f.start), shape.end(f.stop), f.kind, f.value) for f in settled]
