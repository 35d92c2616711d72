"""Texts with and without personal data, made by libraries that know its forms: python-stdnum, phonenumbers and Faker.

Nothing here is taken from what detects it in the gateway. Every sample is one text with one value, of a known kind and
at a known place, or with none: then it holds a number, a name or a date of the sort that is easily taken for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.masking_dice import Dice
from benchmarks.masking_lookalikes import Lookalikes
from benchmarks.masking_values import PersonalValues

_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_WITHOUT_WIDTH = ("\u200b", "\u200c", "\u200d", "\ufeff", "\u2060", "\u00ad")
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
        self._dice = Dice(seed)
        self._random, self._pick = self._dice.random, self._dice.pick
        self.kinds = PersonalValues(self._dice).kinds
        self._lookalikes = Lookalikes(self._dice).sorts

    def samples(self, count: int) -> Iterator[Sample]:
        """Yields so many samples, kinds in turn."""
        kinds = sorted(self.kinds)
        for number in range(count):
            if self._random.random() < _SHARE_OF_VALUES:
                yield self._with_value(kinds[number % len(kinds)])
            else:
                yield Sample(self._around(self._pick(self._lookalikes)())[0])

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
                piece = self._pick(self._lookalikes)() if chance < 0.15 else self._sentence()
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
        return str((self._dice.zh if self._random.random() < 0.6 else self._dice.en).sentence())
