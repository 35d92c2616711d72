"""Texts with and without personal data, made by libraries that know its forms: python-stdnum, phonenumbers and Faker.

Nothing here is taken from what detects it in the gateway. Every sample is one text with one value, of a known kind and
at a known place, or with none: then it holds a number, a name or a date of the sort that is easily taken for one.
"""

from __future__ import annotations

import datetime
import ipaddress
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import phonenumbers
from faker import Faker
from phonenumbers import PhoneNumberFormat, PhoneNumberType
from stdnum import iban, luhn
from stdnum.cn import ric, uscc

Value = tuple[str, str]
"""A value as it is written, and the words it needs before it, if any."""

_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_WITHOUT_WIDTH = ("\u200b", "\u200c", "\u200d", "\ufeff", "\u2060", "\u00ad")
_SEPARATORS = ("-", " ", ".", "－", "\u00a0", "–", "—", " - ")
_SHARE_OF_VALUES = 0.6

_AROUND_ZH = (
    *(
        "{}",
        "我的号码是{}，请尽快联系",
        "号{}号",
        "“{}”。",
        "（{}）",
        "请核对{}是否正确",
        "客户留的是：{}",
        "为什么{}查不到？",
    ),
    *(
        "麻烦你查一下{}谢谢",
        "1. {}\n2. 已处理",
        "【{}】",
        "资料如下：{}；其余不变",
        "{}这个还能用吗",
        "请用{}联系我，5分钟内",
    ),
)
_AROUND_EN = (
    *("{}", "please check {} for me", "It is {}.", "({})", "contact: {}, thanks", "why was {} declined?", '"{}"'),
    *("use {} instead of the old one", "details\n{}\nregards", "id={};", "I gave you {} twice, on 3 May"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One text; `kind` is empty when nothing in it is personal."""

    text: str
    kind: str = ""
    start: int = 0
    stop: int = 0


class Corpus:
    """Makes samples from a seed; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        Faker.seed(seed)
        self._zh = Faker("zh_CN")
        self._en = Faker("en_US")
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
        self._harmless: Sequence[Callable[[], str]] = (
            *(self._date, self._moment, self._amount, self._order, self._order, self._version, self._name),
            *(self._count, self._time, self._code, self._hash, self._measure, self._list),
        )

    def samples(self, count: int) -> Iterator[Sample]:
        """Yields so many samples, kinds in turn."""
        kinds = sorted(self.kinds)
        for number in range(count):
            if self._random.random() < _SHARE_OF_VALUES:
                yield self._with_value(kinds[number % len(kinds)])
            else:
                yield Sample(self._around(self._pick(self._harmless)())[0])

    def values(self, kind: str, count: int) -> Iterator[str]:
        """Yields so many values of a kind as they are written, those that need words before them left out."""
        while count:
            written, mark = self._pick(self.kinds[kind])()
            if not mark:
                yield self._respelled(written)
                count -= 1

    def text(self, size: int) -> str:
        """Returns about `size` bytes of UTF-8: sentences of both languages, a value in one of twenty."""
        pieces: list[str] = []
        length = 0
        while length < size:
            chance = self._random.random()
            if chance < 0.05:
                piece = self._with_value(self._pick(sorted(self.kinds))).text
            else:
                piece = self._pick(self._harmless)() if chance < 0.15 else self._sentence()
            pieces.append(piece + self._pick(("。", ". ", "\n")))
            length += len(pieces[-1].encode())
        return "".join(pieces).encode()[:size].decode(errors="ignore")

    def _with_value(self, kind: str) -> Sample:
        written, mark = self._pick(self.kinds[kind])()
        written = self._respelled(written)
        text, start = self._around(written, mark)
        return Sample(text, kind, start, start + len(written))

    def _respelled(self, written: str) -> str:
        chance = self._random.random()
        if chance < 0.15:
            written = written.translate(_FULL_WIDTH)
        elif chance < 0.25:
            places = {self._random.randrange(1, len(written)) for _ in range(self._random.randint(1, 4))}
            written = "".join(
                (self._pick(_WITHOUT_WIDTH) if place in places else "") + character
                for place, character in enumerate(written)
            )
        return written

    def _around(self, written: str, mark: str = "") -> tuple[str, int]:
        chinese = self._random.random() < 0.6
        around = self._pick(_AROUND_ZH if chinese else _AROUND_EN)
        if mark:
            around = "{}" if self._random.random() < 0.5 else self._pick(("您好，{}", "Hello, {}", "({})"))
        before, after = around.split("{}")
        before += mark
        if self._random.random() < 0.5:
            # Between a letter and a letter there must be something, or it is another word.
            lead, tail = self._sentence(), self._sentence()
            before, after = f"{lead}{before}" if before else f"{lead} ", f"{after}{tail}" if after else f" {tail}"
        return before + written + after, len(before)

    def _sentence(self) -> str:
        return str((self._zh if self._random.random() < 0.6 else self._en).sentence())

    def _pick(self, choices: Sequence[Any]) -> Any:
        return choices[self._random.randrange(len(choices))]

    def _digits(self, count: int) -> str:
        return "".join(self._random.choices("0123456789", k=count))

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

    def _day(self, first: int, last: int) -> datetime.datetime:
        """Returns a moment of these years; Faker's own dates depend on today's."""
        start = datetime.datetime(first, 1, 1, tzinfo=datetime.UTC)
        return start + datetime.timedelta(seconds=self._random.randrange((last + 1 - first) * 365 * 86_400))

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

    # What is not personal.

    def _date(self) -> str:
        day = self._day(1985, 2030)
        forms = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y年%m月%d日", "%d.%m.%Y", "%m/%d/%Y", "%d %B %Y")
        written = day.strftime(self._pick(forms))
        if self._random.random() < 0.2:
            written += self._pick(("至", " - ", " to ", "~")) + self._day(2025, 2030).strftime("%Y-%m-%d")
        return written

    def _moment(self) -> str:
        moment = self._day(2015, 2027)
        forms = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y%m%d%H%M%S", "%Y/%m/%d %H:%M", "%Y-%m-%d %H:%M:%S.%f")
        written = (*(moment.strftime(form) for form in forms), str(int(moment.timestamp())))
        return str(self._pick((*written, f"{int(moment.timestamp())}{self._digits(3)}")))

    def _amount(self) -> str:
        whole = self._random.randrange(1, 10 ** self._random.randint(2, 9))
        forms = (f"¥{whole:,}.{self._digits(2)}", f"{whole}.{self._digits(2)}元", f"${whole:,}", f"{whole}元")
        return str(self._pick((*forms, f"人民币{whole}万元", f"{whole:,} EUR", f"-{whole}.00")))

    def _order(self) -> str:
        day = self._day(2015, 2026).strftime("%Y%m%d")
        forms = (
            *(f"订单号{day}{self._digits(self._random.randint(4, 12))}", f"order {day}-{self._digits(6)}"),
            *(
                f"PO-{day[:4]}-{self._digits(6)}",
                f"SO{self._digits(7)}",
                f"INV-{self._digits(9)}",
                f"#{self._digits(6)}",
            ),
            *(f"工单{self._digits(8)}", f"ticket {self._digits(self._random.randint(5, 9))}", f"SF{self._digits(13)}"),
            *(f"批次{day}{self._digits(3)}", f"合同HT{day}{self._digits(4)}", f"流水号{day}{self._digits(14)}"),
        )
        return str(self._pick(forms))

    def _version(self) -> str:
        number = self._random.randrange
        forms = (f"v{number(20)}.{number(30)}.{number(99)}", f"{number(9)}.{number(30)}.{number(9)}", "Python 3.11.9")
        long = (
            f"10.0.{number(10000, 30000)}.{number(5000)}",
            f"version {number(20)}.{number(9)}.{number(9)}.{number(9)}",
        )
        return str(self._pick((*forms, *long, f"Chrome/{number(90, 130)}.0.{number(4000, 7000)}.{number(200)}")))

    def _name(self) -> str:
        number = self._random.randrange
        fixed = (
            "RTX 4090",
            "Xeon E5-2680",
            "iPhone 15 Pro",
            "A100-80GB",
            "GB 11643-1999",
            "RFC 6962",
            "ISO/IEC 7812-1",
        )
        made = (
            f"{self._pick(('CA', 'MU', 'CZ', 'BA', 'LH'))}{number(100, 9999)}",
            f"G{number(1, 9999)}次",
            f"T{number(999)}",
        )
        return str(self._pick((*fixed, *made, "苏A股", "新能源2023", "std::vector", "@老王", "a@b", "user@", "C3PO")))

    def _count(self) -> str:
        number = self._random.randrange
        forms = (
            f"{number(10**6)}次",
            f"{number(100)}.{self._digits(4)}%",
            f"{number(10**5)} users",
            f"{number(10**9):,}",
        )
        return str(self._pick((*forms, f"约{number(10**8)}条", f"{number(99)} of {number(99)}", f"第{number(300)}条")))

    def _time(self) -> str:
        number = self._random.randrange
        forms = (
            f"{number(24):02}:{number(60):02}:{number(60):02}",
            f"{number(24)}:{number(60):02}",
            "16:9",
            "9:00-18:00",
        )
        return str(self._pick((*forms, "周一至周五 08:30-17:30", f"{number(3)}:{number(10)}", "2019-2023")))

    def _code(self) -> str:
        forms = (
            *(
                f"978-7-{self._digits(3)}-{self._digits(5)}-{self._digits(1)}",
                f"69{self._digits(11)}",
                "600519",
                "95588",
            ),
            *(
                "10086",
                f"邮编{self._digits(6)}",
                f"SKU {self._digits(8)}",
                f"code {self._digits(6)}",
                f"房间{self._digits(4)}",
            ),
            *(f"00:1A:2B:{self._digits(2)}:4D:{self._digits(2)}", f"QX{self._digits(5)}", f"验证码{self._digits(6)}"),
        )
        return str(self._pick(forms))

    def _hash(self) -> str:
        value = self._random.getrandbits(256)
        short = f"{value:064x}"
        uuid = f"{short[:8]}-{short[8:12]}-4{short[13:16]}-a{short[17:20]}-{short[20:32]}"
        return str(self._pick((short[:7], short[:40], short, uuid, uuid, f"sha256:{short}")))

    def _measure(self) -> str:
        number = self._random.uniform
        forms = (
            f"{number(-90, 90):.6f}, {number(-180, 180):.6f}",
            "1920x1080",
            f"{number(0, 1):.16f}",
            f"{number(0, 9):.3f}",
        )
        return str(
            self._pick((*forms, "3.14159265358979", f"{number(1, 9):.4e}", f"{int(number(1e3, 1e7))} bytes", "2^31"))
        )

    def _list(self) -> str:
        number = self._random.randrange
        count = number(3, 12)
        return str(self._pick((" ", ", ", "; ", "\t")).join(str(number(1, 99)) for _ in range(count)))
