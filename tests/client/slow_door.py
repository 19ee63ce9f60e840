"""A TCP door in front of a server that takes its time with each new connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def slow_door(target: int, delay_s: float) -> Iterator[str]:
    """The address of a door to port ``target``; the first byte of a connection waits."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []
    sockets = [listener]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def let_in(near: socket.socket) -> None:
        over.wait(delay_s)
        with suppress(OSError):
            far = socket.create_connection(("127.0.0.1", target))
            sockets.append(far)
            for ends in ((near, far), (far, near)):
                begin(lambda ends=ends: pump(*ends))

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                sockets.append(near)
                begin(lambda near=near: let_in(near))

    def begin(job: object) -> None:
        thread = threading.Thread(target=job, daemon=True)  # type: ignore[arg-type]
        threads.append(thread)
        thread.start()

    begin(accept)
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        for one in list(sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in list(threads):
            thread.join()
