"""What every program here that starts processes of its own needs: free ports, and their end."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path


class ChaosError(Exception):
    """The test itself cannot go on; the message says why."""


def wait_until_gone(pid: int) -> None:
    """Wait until no such process runs; one that is dead and not yet collected counts as gone."""
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state in "ZX":
            return
        time.sleep(0.001)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody uses, below the range that outgoing connections draw from.

    A port of that range could be taken by a connection of the cluster itself while the process
    that owns it is dead.
    """
    ports: list[int] = []
    held: list[socket.socket] = []
    try:
        for port in random.sample(range(20_000, 32_000), 2_000):
            probe = socket.socket()
            held.append(probe)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    finally:
        for probe in held:
            probe.close()
    raise ChaosError("no free ports on 127.0.0.1 between 20000 and 32000")
