"""The shape of a text: one byte for each character, so that a scan sees forms and not spellings.

Full-width and mathematical characters become the ASCII that they look like, every script's digits 0 to 9, any dash a
hyphen, any space a space. Characters without width are left out; where there are none, places in the shape are places
in the text. Every other character is one of a few bytes above 0x7F, which no class of ASCII contains: between a
Chinese character and a digit there is a word's boundary in a shape, as there is none in Unicode.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LETTER = 0x80
"""A character that is neither ASCII nor any of the next; most are letters or Chinese characters."""
STOP = 0x82
"""The ideographic full stop, which an input method writes for a dot."""
PROVINCE = 0x84
"""What a Chinese number plate begins with."""
EMBASSY = 0x85
PLATE_END = 0x86
"""What a Chinese number plate of a special kind ends in."""

_SPECIAL = {
    **dict.fromkeys("京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼", PROVINCE),
    **dict.fromkeys("挂学警港澳领", PLATE_END),
    **dict.fromkeys("。｡", STOP),
    **dict.fromkeys("·•・‧∙⋅･", ord(".")),
    **dict.fromkeys("−ーｰ─━﹘﹣", ord("-")),
    **dict.fromkeys("⁄∕", ord("/")),
    # Of the letters that look like ASCII's only the one that a resident ID can end in.
    **dict.fromkeys("ХхΧχ×✕", ord("X")),
    **dict.fromkeys("\u115f\u1160\u3164\uffa0", 0),
    "使": EMBASSY,
    "\u2800": ord(" "),
}
_KEPT_CONTROLS = "\t\n\v\f\r"
_FORMS = frozenset({"Lu", "Ll", "Lo", "Lm", "Nd", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk"})
_TABLE_SIZE = 0x110000
# Where the table is more than LETTER: before and behind the ideographs and Hangul, and of the planes above, what there
# is of mathematical letters and digits, and of invisible tags.
_RANGES = ((0x0000, 0x3400), (0xA000, 0xAC00), (0xD7A4, 0xD800), (0xF900, 0x10000), (0x1D400, 0x1D800))
_TAGS = (0xE0000, 0xE0200)


def _byte(character: str) -> int:
    category = unicodedata.category(character)
    if category == "Nd":
        return 0x30 + unicodedata.decimal(character)
    if category in ("Cf", "Mn", "Me", "Cc"):
        return ord(character) if character in _KEPT_CONTROLS else 0
    if category == "Zs":
        return 0x20
    if category in ("Zl", "Zp"):
        return 0x0A
    if category == "Pd":
        return ord("-")
    if category in _FORMS:
        same = unicodedata.normalize("NFKC", character)
        if len(same) == 1 and same.isascii():
            return ord(same)
    return ord(character) if character.isascii() else LETTER


def _table() -> bytes:
    table = bytearray([LETTER]) * _TABLE_SIZE
    for start, stop in _RANGES:
        for code in range(start, stop):
            table[code] = _byte(chr(code))
    table[_TAGS[0] : _TAGS[1]] = bytes(_TAGS[1] - _TAGS[0])
    for character, byte in _SPECIAL.items():
        table[ord(character)] = byte
    return bytes(table)


_BYTES = _table()
_CHARACTERS = _BYTES.decode("latin-1")  # for str.translate, which is faster below about a hundred characters
_ARRAY = np.frombuffer(_BYTES, dtype=np.uint8)
_FEW = 128
_CONTROLS = bytes(code for code in range(128) if _BYTES[code] == 0)

_DECISIVE = b"0123456789@:"


# Built for each text, so not frozen: that takes three times as long.
@dataclass(slots=True)
class Shape:
    """The bytes, and where each stands in the text."""

    data: bytes
    places: npt.NDArray[np.intp] | None
    """None: at the same place."""

    def place(self, index: int) -> int:
        """Returns where in the text the byte at `index` stands."""
        return index if self.places is None else int(self.places[index])

    def end(self, index: int) -> int:
        """Returns the place behind the byte before `index`."""
        return index if self.places is None else int(self.places[index - 1]) + 1


def shape_of(text: str) -> Shape:
    """Returns the shape; takes a few nanoseconds a character."""
    if text.isascii():
        data = text.encode()
        if len(data.translate(None, _CONTROLS)) == len(data):
            return Shape(data, None)
    data = text.translate(_CHARACTERS).encode("latin-1") if len(text) < _FEW else _ARRAY[_codes(text)].tobytes()
    if 0 not in data:
        return Shape(data, None)
    array = np.frombuffer(data, dtype=np.uint8)
    return Shape(array[array != 0].tobytes(), np.flatnonzero(array))


def may_hold_values(data: bytes) -> bool:
    """Says whether a shape holds a digit, an @ or a colon; without one it has nothing to find."""
    return len(data.translate(None, _DECISIVE)) < len(data)


def plain_text(text: str, shape: Shape) -> str:
    """Returns the text with what has a form in ASCII written in it, and nothing without width: for tenants' patterns.

    Its characters stand where the bytes of the shape do.
    """
    if text.isascii() and shape.places is None:
        return text
    codes = _codes(text)
    if shape.places is not None:
        codes = codes[shape.places]
    data = np.frombuffer(shape.data, dtype=np.uint8)
    return (
        np.where(data < LETTER, data.astype(np.uint32), codes)
        .astype("<u4")
        .tobytes()
        .decode("utf-32-le", "surrogatepass")
    )


def _codes(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
