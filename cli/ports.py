"""Ports of the loopback interface for the parts of a mesh."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from cli.failure import CommandFailed

LOOPBACK = "127.0.0.1"
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 15_000
_TRIES = 200


def is_free(port: int) -> bool:
    """Whether nothing listens at the port of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, so that a connection in TIME_WAIT is no obstacle. Without SO_REUSEPORT, so that an Envoy which
        # shares its port is one.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Returns different ports that nothing listens at.

    They lie below the range from which the kernel takes the near ends of outgoing connections, where there is room:
    a part that is started again must find its port free.
    """
    try:
        ephemeral = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError):
        ephemeral = 32_768
    low, high = (_LOWEST, ephemeral) if ephemeral - _LOWEST >= 1_000 else (20_000, 60_000)
    found: list[int] = []
    for port in random.sample(range(low, high), _TRIES):
        if is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise CommandFailed(f"no {count} free ports between {low} and {high} on {LOOPBACK}")


def public_port(port: int) -> int:
    """Returns the port, or a free one for 0.

    Raises:
        CommandFailed: something listens there already, or it is not a port that this user may use.
    """
    if port == 0:
        return free_ports(1)[0]
    if not is_free(port):
        raise CommandFailed(f"port {port} of {LOOPBACK} is taken; give another with --port, or --port 0 for a free one")
    return port
