"""Ends an Envoy that runs this process, gracefully, when the process is told to end.

Envoy answers SIGTERM by dropping every call. So it is started with the signal blocked (envoy.py), in all its threads,
and a thread here waits for it instead: health says NOT_SERVING, Envoy asks its connections to go elsewhere and takes no
new ones, the calls in flight end, and only then Envoy is told to exit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from pathlib import Path

from services.kernel.hosting.admin import EnvoyAdmin
from services.kernel.hosting.lifecycle import Running

DRAIN_SECONDS = 10.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)

_QUIT_SECONDS = 2.0

_log = logging.getLogger("assay.hosting")


class Drain:
    """Waits for the end of an application inside Envoy. Made in the application's event loop."""

    def __init__(self, run: Running, admin_address_file: Path | None, seconds: float) -> None:
        self._run = run
        self._admin = EnvoyAdmin(admin_address_file) if admin_address_file is not None else None
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._wanted = threading.Event()

    def start(self) -> None:
        """Begins to wait for the signals and for the end of a background task, in threads."""
        self._run.ended.add_done_callback(lambda _: self._wanted.set())
        threading.Thread(target=self._drain, name="drain", daemon=True).start()
        if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            threading.Thread(target=self._wait_for_signal, name="signals", daemon=True).start()

    def _wait_for_signal(self) -> None:
        signal.sigwait(SIGNALS)
        self._wanted.set()

    def _drain(self) -> None:
        self._wanted.wait()
        _log.info("draining")
        self._loop.call_soon_threadsafe(self._run.health.drain)
        if self._admin is not None:
            self._admin.drain(self._seconds)
            self._admin.quit()
            time.sleep(_QUIT_SECONDS)
        # Without an admin interface: the signal's own way, in this thread, where nothing blocks it any more.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.kill(os.getpid(), signal.SIGTERM)
