"""Masking: personal data in a text becomes typed tokens, `[phone:3fa9c2d18b7e4c5a]`, before it leaves this process.

What is found, and how, is in `detection`; docs/masking.md lists the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import re2

from services.gateway.detection.scan import find
from services.gateway.pseudonyms import Pseudonyms

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
    """With tokens that tell values apart."""

    bare: str
    """With tokens of the kind alone, `[phone]`: what a model sees, to which the rest would be noise."""

    found: tuple[tuple[str, int], ...] = ()


class Masker:
    """Masks with the pseudonyms of one key: the same value gives the same token, whatever its spelling."""

    def __init__(self, pseudonyms: Pseudonyms, patterns: Mapping[str, str] | None = None) -> None:
        """`patterns`: kinds of the tenant's own and the regular expressions that find them."""
        self._pseudonyms = pseudonyms
        self._patterns = {kind: compile_pattern(pattern) for kind, pattern in (patterns or {}).items()}

    def mask(self, text: str) -> MaskedText:
        """Returns the text with a token in the place of each value found."""
        values = find(text, self._patterns)
        if not values:
            return MaskedText(text, text)
        masked: list[str] = []
        bare: list[str] = []
        found: dict[str, int] = {}
        end = 0
        for start, stop, kind, value in values:
            between = text[end:start]
            masked += between, f"[{kind}:{self._pseudonyms.of_value(kind, value)}]"
            bare += between, f"[{kind}]"
            found[kind] = found.get(kind, 0) + 1
            end = stop
        masked.append(text[end:])
        bare.append(text[end:])
        return MaskedText("".join(masked), "".join(bare), tuple(sorted(found.items())))
