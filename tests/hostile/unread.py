"""A server that does not read, clients that fill it and go: run by test_libzmq.py, in a process of
its own because what it looks for ends the process.

python -m tests.hostile.unread PURPOSE
"""

from __future__ import annotations

import socket
import struct
import sys
import time

import zmq

from raftzmq.transport.sockets import Purpose, open_context, open_socket
from tests.hostile import zmtp


def main() -> None:
    """Fill, reset, wait for more than a heartbeat, read everything.

    Pings lie between the messages, so that wherever libzmq stops reading there is one in what it
    has buffered and not looked at.
    """
    with open_context() as context, open_socket(context, Purpose[sys.argv[1]]) as server:
        server.bind("tcp://127.0.0.1:*")
        address = server.getsockopt_string(zmq.LAST_ENDPOINT)
        clients = []
        for ping in (b"", zmtp.command(b"PING", b"\0\1"), zmtp.command(b"PING", b"\0\x0fcontext")):
            client = zmtp.open_zmtp(address)
            client.settimeout(0.2)
            few = zmtp.message(b"", bytes(1_000)) * 2
            zmtp.send_all(client, (ping + few) * 10_000)
            clients.append(client)
        *resets, last = clients
        for reset in resets[:2]:
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reset.close()
        time.sleep(2.5)
        while server.poll(200):
            server.recv_multipart()
        last.close()
        time.sleep(0.2)


if __name__ == "__main__":
    main()
