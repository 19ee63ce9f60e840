"""Ports of this machine that nobody uses, for clusters that are thrown away."""

from __future__ import annotations

import random
import socket
from typing import Final

HOST: Final = "127.0.0.1"
_PORTS: Final = range(10_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody uses at this moment.

    They lie below the range that outgoing connections draw from: a connection of the cluster
    itself could take a port of that range while the process that owns it is dead.

    Raises:
        OSError: there are not so many.
    """
    ports: list[int] = []
    held: list[socket.socket] = []
    try:
        for port in random.sample(_PORTS, 2_000):
            probe = socket.socket()
            held.append(probe)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    finally:
        for probe in held:
            probe.close()
    raise OSError(f"no {count} free ports on {HOST} from {_PORTS.start} to {_PORTS.stop - 1}")
