"""A gateway in a process of its own, as it is started in earnest."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
from assay.audit.v1 import audit_pb2

from cli.ports import free_ports
from services.kernel.eventlog.port import AUDIT_TOPIC
from services.kernel.hosting.envoy import choose_host
from tests.integration.gateway.conftest import key_file

_READY_SECONDS = 60.0


def can_embed() -> bool:
    return choose_host("auto").host == "envoy"


class GatewayProcess:
    """One gateway over one folder; may be started, killed and started again."""

    def __init__(self, folder: Path, host: str, classifier_port: int, event_log: str, **settings: str) -> None:
        self.folder = folder
        self.port, self.metrics_port = free_ports(2)
        self._environ = {
            "ASSAY_HOST": host,
            "ASSAY_LISTEN": f"127.0.0.1:{self.port}",
            "ASSAY_METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}",
            "ASSAY_CLASSIFIER_ADDRESSES": f"127.0.0.1:{classifier_port}",
            "ASSAY_EVENT_LOG": event_log,
            "ASSAY_DATA": str(folder / "gateway"),
            "ASSAY_PSEUDONYM_KEY_FILE": str(key_file(folder)),
            **{f"ASSAY_{name}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "start it first"
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "gateway.log").read_text(errors="replace")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns when it serves."""
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-m", "services.gateway"],
                env={**os.environ, **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            async with asyncio.timeout(_READY_SECONDS), httpx.AsyncClient(trust_env=False) as client:
                while not await self._ready(client):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.kill()
            raise AssertionError(f"the gateway did not start: {self.log[-3000:]}") from None

    async def _ready(self, client: httpx.AsyncClient) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the gateway ended: {self.log[-3000:]}"
        try:
            return (await client.get(f"{self.url}/healthz")).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """kill -9; returns when it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, 30)

    def outbox(self) -> list[audit_pb2.AuditEvent]:
        """Returns the audit events that wait in the outbox."""
        connection = sqlite3.connect(f"file:{self.folder}/gateway/outbox.sqlite3?mode=ro", uri=True)
        try:
            query = "SELECT payload FROM outbox WHERE topic = ? ORDER BY position"
            rows = connection.execute(query, (AUDIT_TOPIC,)).fetchall()
        finally:
            connection.close()
        return [audit_pb2.AuditEvent.FromString(payload) for (payload,) in rows]
