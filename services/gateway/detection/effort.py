"""How much looking one text is worth."""

from __future__ import annotations


class Exhausted(Exception):
    """The text holds more candidates than are looked at."""


class Effort:
    """Counts down. What is counted takes a few microseconds, so a text never holds the event loop for long."""

    __slots__ = ("left",)

    def __init__(self, most: int) -> None:
        self.left = most

    def spend(self, amount: int = 1) -> None:
        """Takes so much of what is left.

        Raises:
            Exhausted: nothing is left.
        """
        self.left -= amount
        if self.left < 0:
            raise Exhausted
