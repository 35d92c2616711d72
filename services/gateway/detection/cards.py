"""Bank cards: the numbers that issuers give out, and how people group them."""

from __future__ import annotations

import re

from stdnum import luhn

from services.gateway.detection.phones import Groups

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


def is_card(digits: str, groups: Groups) -> bool:
    """Whether digits, grouped so, are a card's number with its check digit; UnionPay's need none."""
    if not (_CARD.fullmatch(digits) and (groups in _CARD_GROUPS or groups == (1,) * len(digits))):
        return False
    return luhn.checksum(digits) == 0 or bool(groups in _UNIONPAY_GROUPS and _UNIONPAY.fullmatch(digits))
