"""Envoy's admin interface, as far as ending it gracefully needs it."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import suppress
from pathlib import Path

# For connections to hear of the drain before the listeners close.
NOTICE_SECONDS = 1

_TIMEOUT_SECONDS = 2
_POLL_SECONDS = 0.05


class EnvoyAdmin:
    """Asks the Envoy whose admin address stands in a file. Blocking; for a thread of its own.

    Every method takes silence for an answer: an Envoy that is gone needs no more ending.
    """

    def __init__(self, address_file: Path) -> None:
        self._address_file = address_file

    def drain(self, seconds: float) -> None:
        """Has Envoy send its connections away and close its listeners; returns when no request is in flight.

        Waits for that at most so many seconds, counted from the start.
        """
        end = time.monotonic() + seconds
        self.request("POST", "/healthcheck/fail")
        self.request("POST", "/drain_listeners?graceful&skip_exit")
        time.sleep(NOTICE_SECONDS)
        while self.requests_in_flight() and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)

    def quit(self) -> None:
        """Has Envoy exit."""
        self.request("POST", "/quitquitquit")

    def requests_in_flight(self) -> int:
        """Returns how many requests Envoy serves now, proxied ones included."""
        text = self.request("GET", "/stats?filter=^http\\.ingress\\.downstream_rq_active$")
        with suppress(ValueError):
            return int(text.rpartition(":")[2])
        return 0

    def public_port(self) -> int | None:
        """Returns the port of the public listener; None while it does not listen."""
        # The address is known before the workers listen on it.
        if self.request("GET", "/ready").strip() != "LIVE":
            return None
        with suppress(ValueError, KeyError):
            for status in json.loads(self.request("GET", "/listeners?format=json"))["listener_statuses"]:
                if status["name"] == "public":
                    return int(status["local_address"]["socket_address"]["port_value"])
        return None

    def request(self, method: str, path: str) -> str:
        """Returns the body of the answer, empty when there is none."""
        with suppress(OSError, http.client.HTTPException):
            host, _, port = self._address_file.read_text().strip().rpartition(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_SECONDS)
            try:
                connection.request(method, path)
                return connection.getresponse().read().decode()
            finally:
                connection.close()
        return ""
