"""What publisher and subscription on Kafka share: the client's settings, its faults, and a question that costs little.

kafka-python is synchronous, and starts a thread of its own for each client. Everything that may block runs on a worker
thread here, never on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from services.kernel.eventlog.port import EventLogUnavailable

Client = TypeVar("Client")

REPLY_SECONDS = 5.0
"""How long a broker may take to answer, on top of the time that a poll waits on purpose."""
CONNECT_SECONDS = 3.0
"""How long finding a first broker may take."""
LARGEST_EVENT_BYTES = 4 * 1024 * 1024

TRIES = "assay-tries"
"""The header that holds Event.tries, in decimal, where it is not 0."""

# A question that any broker answers to anyone, of 10 bytes: which versions of which requests it knows (key 18,
# version 0). One that still starts, or hangs, does not answer it.
_QUESTION = struct.pack(">ihhih", 10, 18, 0, 1, -1)

# What goes wrong is raised and counted by who asked; the library would log it again at every attempt.
logging.getLogger("kafka").setLevel(logging.CRITICAL)


def client_settings(brokers: Sequence[str], name: str) -> dict[str, Any]:
    """Returns the settings that every client of the library takes."""
    return {
        "bootstrap_servers": list(brokers),
        "client_id": name,
        "bootstrap_timeout_ms": int(CONNECT_SECONDS * 1000),
        "request_timeout_ms": int(REPLY_SECONDS * 1000),
        "reconnect_backoff_max_ms": 1000,
    }


def connected(kind: Callable[..., Client], **settings: Any) -> Client:
    """Makes a client, which connects while it is made; one that can't leaves no thread and no socket behind."""
    networks: list[KafkaNetClient] = []

    def network(**given: Any) -> KafkaNetClient:
        networks.append(KafkaNetClient(**given))
        return networks[-1]

    try:
        return kind(**settings, kafka_client=network)
    except BaseException:
        for made in networks:
            made.close()
        raise


@contextmanager
def faults() -> Iterator[None]:
    """Turns whatever the client raises into EventLogUnavailable.

    Whatever: its parser trips in many ways over an answer that is none, and nothing that a broker says may end a
    consumer or a relay.
    """
    try:
        yield
    except EventLogUnavailable:
        raise
    except KafkaError as error:
        raise EventLogUnavailable(type(error).__name__) from error
    except Exception as error:
        raise EventLogUnavailable(f"the client failed: {type(error).__name__}") from error


async def ping(brokers: Sequence[str]) -> None:
    """Returns when one of the brokers answers. Raises EventLogUnavailable when none does."""
    for broker in brokers:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, struct.error):
            async with asyncio.timeout(REPLY_SECONDS):
                if await _answers(broker):
                    return
    raise EventLogUnavailable(f"none of {len(brokers)} brokers answers")


async def _answers(broker: str) -> bool:
    host, _, port = broker.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        writer.write(_QUESTION)
        _, correlation, fault = struct.unpack(">iih", await reader.readexactly(10))
        return bool(correlation == 1 and fault == 0)
    finally:
        writer.close()
