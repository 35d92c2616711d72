"""Notices callers who went away after their whole request was read.

ASGI wants `receive` to wait, from then on, for "http.disconnect". This server answers it at once instead, with an empty
"http.request" while the caller is there. So calls that take long are asked about from time to time, all in one sweep; a
call that ends before the next one costs two dictionary operations.
"""

from __future__ import annotations

import asyncio
from typing import Any

from services.kernel.hosting.context import Context

_SWEEP_SECONDS = 0.1


class Departures:
    """The calls whose callers may go away unheard. Belongs to one event loop."""

    def __init__(self) -> None:
        self._young: dict[Context, Any] = {}
        self._old: dict[Context, Any] = {}
        self._sweeping = False

    def add(self, context: Context, receive: Any) -> None:
        """Has the context's task cancelled when its caller is gone; noticed within a fifth of a second."""
        self._young[context] = receive
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def discard(self, context: Context) -> None:
        """Forgets a call that is over; one that was never added is no fault."""
        if self._young.pop(context, None) is None:
            self._old.pop(context, None)

    def _sweep(self) -> None:
        for context, receive in self._old.items():
            receive().add_done_callback(context.received)
        self._old.update(self._young)
        self._young.clear()
        self._sweeping = bool(self._old)
        if self._sweeping:
            asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
