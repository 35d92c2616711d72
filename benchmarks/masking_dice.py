"""Chance that a seed decides, for the texts of the masking benchmark."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from typing import Any

from faker import Faker


class Dice:
    """The same seed gives the same throws, as long as they are asked for in the same order."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        Faker.seed(seed)
        self.zh = Faker("zh_CN")
        self.en = Faker("en_US")

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[self.random.randrange(len(choices))]

    def digits(self, count: int) -> str:
        return "".join(self.random.choices("0123456789", k=count))

    def day(self, first: int, last: int) -> datetime.datetime:
        """Returns a moment of these years; Faker's own dates depend on today's."""
        start = datetime.datetime(first, 1, 1, tzinfo=datetime.UTC)
        return start + datetime.timedelta(seconds=self.random.randrange((last + 1 - first) * 365 * 86_400))
