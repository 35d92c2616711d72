"""Personal data as people write it, made by python-stdnum, phonenumbers and Faker.

Nothing here is taken from what detects it in the gateway."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence

import phonenumbers
from faker import Faker
from phonenumbers import PhoneNumberFormat, PhoneNumberType
from stdnum import iban, luhn
from stdnum.cn import ric, uscc

from benchmarks.masking_dice import Dice

Value = tuple[str, str]
"""A value as it is written, and the words it needs before it, if any."""

_SEPARATORS = ("-", " ", ".", "－", "\u00a0", "–", "—", " - ")


class PersonalValues:
    """What makes a value of each kind, several things where a kind has several forms."""

    def __init__(self, dice: Dice) -> None:
        self._random, self._pick, self._digits, self._day = dice.random, dice.pick, dice.digits, dice.day
        self._zh, self._en = dice.zh, dice.en
        places = ("en_GB", "de_DE", "fr_FR", "nl_NL", "es_ES", "it_IT", "pl_PL", "de_AT", "de_CH", "fi_FI", "no_NO")
        self._ibans = [Faker(place) for place in places]
        self.kinds: Mapping[str, Sequence[Callable[[], Value]]] = {
            "resident_id": (self._resident, self._resident, self._resident_wrong, self._resident_15),
            "bank_card": (self._unionpay, self._unionpay, self._card),
            "phone": (self._mobile, self._mobile, self._landline, self._abroad, self._american),
            "email": (self._email,),
            "passport": (self._passport, self._passport, self._foreign_passport),
            "credit_code": (self._credit_code,),
            "plate": (self._plate, self._electric_plate),
            "ip": (self._ipv4, self._ipv6),
            "iban": (self._iban,),
            "us_ssn": (self._ssn,),
        }

    def _grouped(self, digits: str, *groupings: tuple[int, ...]) -> str:
        """Writes a value in one piece, in groups, or digit by digit."""
        chance = self._random.random()
        if chance < 0.6 or not groupings:
            return digits
        separator = self._pick(_SEPARATORS)
        if chance < 0.65:
            return str(self._pick((" ", "-")).join(digits))
        pieces, place = [], 0
        for length in self._pick(groupings):
            pieces.append(digits[place : place + length])
            place += length
        return str(separator.join([*pieces, digits[place:]] if place < len(digits) else pieces))

    def _resident(self) -> Value:
        number = self._person()
        number += ric.calc_check_digit(number + "0")
        if self._random.random() < 0.2:
            number = number.lower()
        return self._grouped(number, (6, 8, 4), (6, 4, 4, 4), (6, 4, 2, 2, 4)), ""

    def _resident_wrong(self) -> Value:
        number = self._person()
        return number + self._pick([c for c in "0123456789X" if c != ric.calc_check_digit(number + "0")]), ""

    def _resident_15(self) -> Value:
        number = self._person()
        return number[:6] + number[8:], ""

    def _person(self) -> str:
        """Returns place, date of birth and serial number."""
        number = str(self._zh.ssn())
        return number[:6] + self._day(1925, 2010).strftime("%Y%m%d") + number[14:17]

    def _unionpay(self) -> Value:
        length = self._pick((16, 16, 17, 18, 19, 19, 19))
        prefix = self._pick(("622202", "622848", "621700", "625958", "620058", "623052", "628366", "621226"))
        body = prefix + self._digits(length - 7)
        number = body + luhn.calc_check_digit(body)
        groups = {16: (4, 4, 4, 4), 19: (4, 4, 4, 4, 3)}.get(length)
        return self._grouped(number, *([groups] if groups else []), (6, length - 6)), ""

    def _card(self) -> Value:
        issuer = self._pick(("visa16", "visa19", "mastercard", "amex", "discover", "diners", "jcb16"))
        number = str(self._en.credit_card_number(issuer))
        groups = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4), 19: (4, 4, 4, 4, 3)}.get(len(number))
        return self._grouped(number, *([groups] if groups else [])), ""

    def _mobile(self) -> Value:
        number = str(self._zh.phone_number())
        written = self._grouped(number, (3, 4, 4), (3, 3, 5), (3, 8))
        return self._pick(("", "", "", "+86", "+86 ", "0086", "86-", "(+86)", "+86-")) + written, ""

    def _landline(self) -> Value:
        while True:
            area = self._pick(("10", "21", "20", "25", "27", "28", "755", "571", "532", "791", "451", "898"))
            rest = self._pick("2345678") + self._digits(7)
            number = phonenumbers.parse(f"+86{area}{rest}")
            if phonenumbers.is_valid_number(number):
                break
        forms = (f"0{area}-{rest}", f"0{area}{rest}", f"(0{area}){rest}", f"0{area} {rest[:4]} {rest[4:]}")
        return self._pick((*forms, f"+86 {area} {rest[:4]} {rest[4:]}", f"+86-{area}-{rest}")), ""

    def _abroad(self) -> Value:
        while True:
            region = self._pick(("US", "GB", "DE", "FR", "JP", "KR", "IN", "BR", "AU", "SG", "HK", "TW", "RU", "MY"))
            kind = self._pick((PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE))
            example = phonenumbers.example_number_for_type(region, kind)
            if example is None:
                continue
            national = str(example.national_number)
            number = phonenumbers.PhoneNumber(example.country_code, int(national[:-4] + self._digits(4)))
            if phonenumbers.is_valid_number(number):
                break
        form = self._pick((PhoneNumberFormat.E164, PhoneNumberFormat.INTERNATIONAL))
        written = phonenumbers.format_number(number, form)
        return written.replace("+", "00", 1) if self._random.random() < 0.2 else written, ""

    def _american(self) -> Value:
        while True:
            area, exchange = self._pick(("415", "212", "312", "617", "206", "702")), self._digits(3)
            number = phonenumbers.PhoneNumber(1, int(area + exchange + self._digits(4)))
            if phonenumbers.is_valid_number(number):
                break
        written = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
        digits = str(number.national_number)
        return self._pick(
            (written, f"{digits[:3]}-{digits[3:6]}-{digits[6:]}", f"{area}.{digits[3:6]}.{digits[6:]}")
        ), ""

    def _email(self) -> Value:
        source = self._pick((self._zh, self._en))
        address = str(self._pick((source.email, source.free_email, source.company_email))())
        chance = self._random.random()
        return address.upper() if chance < 0.1 else address.replace("@", "+shop@") if chance < 0.2 else address, ""

    def _passport(self) -> Value:
        letter = self._pick("ABCDEFGHJKLMNPQRSTUVWXYZ")
        forms = ("E" + self._digits(8), "G" + self._digits(8), "E" + letter + self._digits(7))
        official = (self._pick("DSP") + self._digits(7), self._pick("DSP") + "E" + self._digits(7))
        return self._pick((*forms, *official)), ""

    def _foreign_passport(self) -> Value:
        mark = self._pick(
            ("护照号", "护照号码：", "护照 ", "passport no. ", "passport number: ", "Passport: ", "passport ")
        )
        return str(self._en.passport_number()), mark

    def _credit_code(self) -> Value:
        alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
        place = self._pick(("110108", "310115", "440300", "330106", "510107", "320583"))
        body = self._pick(("91", "91", "92", "93", "12", "51")) + place + "".join(self._random.choices(alphabet, k=9))
        return body + uscc.calc_check_digit(body), ""

    def _plate(self) -> Value:
        plate = str(self._zh.license_plate()).replace("-", "")
        return self._pick((plate, plate, f"{plate[:2]}·{plate[2:]}", f"{plate[:2]} {plate[2:]}", plate.lower())), ""

    def _electric_plate(self) -> Value:
        province, city = self._pick("京沪粤浙苏川渝鄂湘闽"), self._pick("ABCDEF")
        small = self._pick("DF") + self._pick("ABCDEFGHJK0123456789") + self._digits(4)
        return province + city + self._pick((small, self._digits(5) + self._pick("DF"))), ""

    def _ipv4(self) -> Value:
        return str(self._en.ipv4()), ""

    def _ipv6(self) -> Value:
        address = ipaddress.IPv6Address(self._en.ipv6())
        short = ipaddress.IPv6Address((0x20010DB8 << 96) | self._random.getrandbits(self._random.choice((16, 32, 64))))
        return self._pick((address.exploded, address.compressed, short.compressed)), ""

    def _iban(self) -> Value:
        number = str(self._pick(self._ibans).iban())
        return iban.format(number) if self._random.random() < 0.4 else number, ""

    def _ssn(self) -> Value:
        number = str(self._en.ssn())
        return number if self._random.random() < 0.8 else number.replace("-", " "), ""
