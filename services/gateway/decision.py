"""When an answer goes to a person as well."""

from __future__ import annotations

import struct


class ConfidenceThreshold:
    """The confidence below which an answer is doubtful."""

    def __init__(self, threshold: float) -> None:
        """`threshold`: 0 (nothing is doubtful) to 1.

        Raises:
            ValueError: it is outside.
        """
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"the confidence threshold is {threshold}; it must be 0 to 1")
        # Confidences are 32-bit floats: 0.7 arrives as 0.69999999 and has reached 0.7 all the same.
        self.value: float = struct.unpack("f", struct.pack("f", threshold))[0]

    def is_doubtful(self, confidence: float) -> bool:
        """Says whether a person should look; what is not a number is doubtful too."""
        return not confidence >= self.value
