"""Ending a connection of a stranger so that he is in no hurry to come back.

It is shut down and not reset: the kernel then takes nothing more and says so to nobody, so that
who goes on sending waits for room until his patience ends. A reset (connect(2) to AF_UNSPEC) tells
him at once. Attackers that send messages of a hundred thousand frames came back fifteen times as
often then, each time with two million frames, which are 140 MiB here (docs/decisions/010).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import zmq

from raftzmq.transport.sockets import Socket


def hang_up(descriptor: int, port: int) -> None:
    """Shut down the connection behind ``descriptor``; its owner sees it end.

    Args:
        descriptor: may have been closed, or be no connection; then nothing happens.
        port: its local one; with another, the descriptor is used for something else by now.
    """
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        address = connection.getsockname()
        if len(address) >= 2 and address[1] == port:
            connection.shutdown(socket.SHUT_RDWR)


def port_of(bound: Socket) -> int:
    """The port that a socket is bound to; 0 if it is none of TCP."""
    port = bound.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
    return int(port) if port.isdigit() else 0
