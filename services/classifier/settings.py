"""The classifier's settings; each is read from ASSAY_ and its name in capitals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What the classifier is told at its start."""

    triton_addresses: tuple[str, ...]
    """host:port of the gRPC endpoint of each Triton server."""

    models: Path
    """The folder of model bundles."""

    listen: str = "127.0.0.1:0"
    metrics_listen: str = ""
    """Where /metrics is served; empty for nowhere."""

    log_level: str = "info"

    calls_ahead: int = 1
    """Calls that each Triton server gets beyond those that it runs, to have the next one at hand when one ends."""

    group_rows: int = 8
    """Texts in one call to Triton at most."""

    group_tokens: int = 512
    """Rows times the longest row, in one call to Triton; a single longer text goes alone."""

    call_tokens: float = 0.0
    """For a Triton that reads the rows of a call together: the fixed cost of a call, told in tokens that the encoder
    could read instead; it says how much padding sharing a call is worth. 0: rows are read one by one, padding is free.
    """

    waiting: int = 8192
    """Texts that may wait for Triton; more are refused."""

    answer_seconds: float = 30.0
    """How long a call without a deadline of its own may take."""

    def __post_init__(self) -> None:
        for name in ("group_rows", "group_tokens", "waiting", "answer_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"ASSAY_{name.upper()} must be above 0")
        for name in ("calls_ahead", "call_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"ASSAY_{name.upper()} must be 0 or more")
        if not self.models.is_dir():
            raise ValueError(f"ASSAY_MODELS is {str(self.models)!r}; it must be a folder")
