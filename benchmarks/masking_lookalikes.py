"""Numbers, names and dates that are nobody's, of the sort that is easily taken for personal data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.masking_dice import Dice


class Lookalikes:
    """What makes one of each sort."""

    def __init__(self, dice: Dice) -> None:
        self._random, self._pick, self._digits, self._day = dice.random, dice.pick, dice.digits, dice.day
        self.sorts: Sequence[Callable[[], str]] = (
            *(self._date, self._moment, self._amount, self._order, self._order, self._version, self._name),
            *(self._count, self._time, self._code, self._hash, self._measure, self._list),
        )

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
