"""Where the classifier's domain ends: the server that runs the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.classifier.bundle import FloatArray, IntArray


class EncoderUnavailable(Exception):
    """No server that holds the encoder can be reached; another try, later, may succeed. The text is for logs."""


class EncodingFailed(Exception):
    """The encoder was reached and gave no usable answer for these rows. The text is for logs."""


class Encoder(Protocol):
    """One encoder, wherever it runs. May be called many times at once."""

    @property
    def capacity(self) -> int:
        """How many calls it wants at the same time now; 0 while no server is ready."""

    async def embed(self, rows: Sequence[IntArray], deadline: float) -> FloatArray:
        """Returns one finite float32 embedding [D] for each row of token ids, as [n, D] in the same order.

        `deadline` is a time of the event loop's clock. Cancelling the call abandons the work.

        Raises:
            EncoderUnavailable: nothing answered; a row is not to blame.
            EncodingFailed: the answer is an error or can't be trusted; a single row may be to blame.
            TimeoutError: the deadline passed.
        """
