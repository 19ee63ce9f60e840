"""The switch: a program that carries every packet between namespaces, or does not.

Each seat is a network namespace with one tun device, whose other end is here, so that packets
can be lost, late, doubled or overtaken per direction on kernels without netem. It ends when its
stdin does, that is, with whoever started it. Started and driven by `raftzmq.chaos.network`::

    {"seats": {"n1": ["namespace", 1], ...}, "seed": 1}         first line on stdin
    ready                                                        answer on stdout

then, one JSON line per connection to the Unix socket ``switch.sock`` in its working folder::

    {"do": "set", "name": "cut", "links": [["n1", "n2"]], "rule": {"drop": 1}}
    {"do": "clear", "name": "cut"}     {"do": "clear"}     {"do": "counts"}
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import io
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any, Final

from raftzmq.chaos.links import Link, Links, Rule

SOCKET: Final = "switch.sock"
SUBNET: Final = "10.77.0."
_PREFIX: Final = bytes((10, 77, 0))
_TUNSETIFF: Final = 0x400454CA  # linux/if_tun.h
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_CLONE_NEWNET: Final = 0x40000000
_BURST: Final = 64
_MTU: Final = "1500"
_COMMAND_S: Final = 1.0


def enter(namespace: str) -> None:
    """Move the calling thread, and all that it starts from now on, into a network namespace.

    Raises:
        OSError: there is none of that name, or it is not permitted.
    """
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(descriptor)
    finally:
        os.close(descriptor)


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _open_seat(namespace: str, number: int) -> int:
    """A tun device in the namespace, with address and route; its end works outside of it too."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(namespace)
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH14x", b"wire", _IFF_TUN | _IFF_NO_PI))
    finally:
        _setns(home)
        os.close(home)
    for words in (
        ("addr", "add", f"{SUBNET}{number}/24", "dev", "wire"),
        ("link", "set", "lo", "up"),
        ("link", "set", "wire", "mtu", _MTU, "up"),
    ):
        subprocess.run(("ip", "-n", namespace, *words), check=True)
    return device


class Switch:
    """All seats in one thread.

    Args:
        seats: name -> (namespace, last part of its address).
        seed: of what happens to packets.
    """

    def __init__(self, seats: dict[str, tuple[str, int]], seed: int) -> None:
        self._links = Links(seed)
        self._devices = {name: _open_seat(*seat) for name, seat in seats.items()}
        self._names = {device: name for name, device in self._devices.items()}
        self._by_number = {number: name for name, (_, number) in seats.items()}
        self._late: list[tuple[float, int, int, bytes]] = []
        self._serial = 0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(SOCKET)
        self._door.listen(8)

    def run(self) -> None:
        """Carry packets until stdin ends."""
        poll = select.poll()
        for descriptor in (*self._names, self._door.fileno(), sys.stdin.fileno()):
            poll.register(descriptor, select.POLLIN)
        while True:
            self._deliver()
            wait = max(0.0, self._late[0][0] - _now_ms()) if self._late else None
            for descriptor, _ in poll.poll(wait):
                if descriptor in self._names:
                    self._carry(descriptor)
                elif descriptor == self._door.fileno():
                    self._obey()
                elif not os.read(descriptor, 4096):
                    return

    def _carry(self, device: int) -> None:
        source = self._names[device]
        for _ in range(_BURST):
            try:
                packet = os.read(device, 65_536)
            except BlockingIOError:
                return
            if len(packet) < 20 or packet[0] >> 4 != 4 or packet[16:19] != _PREFIX:
                continue
            target = self._by_number.get(packet[19])
            if target is None or target == source:
                continue
            link: Link = (source, target)
            if self._links.is_free(link):
                self._put(self._devices[target], packet)
                continue
            now = _now_ms()
            for at in self._links.arrivals(link, now):
                if at <= now:
                    self._put(self._devices[target], packet)
                else:
                    self._serial += 1
                    entry = (at, self._serial, self._devices[target], packet)
                    heapq.heappush(self._late, entry)

    def _deliver(self) -> None:
        while self._late and self._late[0][0] <= _now_ms():
            _, _, device, packet = heapq.heappop(self._late)
            self._put(device, packet)

    @staticmethod
    def _put(device: int, packet: bytes) -> None:
        # A full queue of a device loses packets, as that of any network card does.
        with contextlib.suppress(OSError):
            os.write(device, packet)

    def _obey(self) -> None:
        connection, _ = self._door.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_COMMAND_S)
            text = b""
            while not text.endswith(b"\n"):
                part = connection.recv(65_536)
                if not part:
                    return
                text += part
            try:
                answer = self._command(json.loads(text))
            except (ValueError, KeyError, TypeError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            connection.sendall(json.dumps(answer).encode() + b"\n")

    def _command(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "set":
            links = [(str(a), str(b)) for a, b in order["links"]]
            unknown = {name for link in links for name in link} - set(self._devices)
            if unknown:
                raise ValueError(f"no seat is named {', '.join(sorted(unknown))}")
            self._links.set(str(order["name"]), links, Rule(**order["rule"]))
            return {}
        if order["do"] == "clear":
            found = self._links.clear(str(order.get("name", "")))
        elif order["do"] == "counts":
            found = self._links.counts()
        else:
            raise ValueError(f"no command is named {order['do']!r}")
        return {"counts": {name: asdict(counts) for name, counts in found.items()}}


def _now_ms() -> float:
    return time.monotonic() * 1000


def main() -> None:
    """Read the seats, say "ready", carry."""
    with io.FileIO(sys.stdin.fileno(), closefd=False) as lines:  # unbuffered: poll sees the rest
        order = json.loads(lines.readline())
    seats = {name: (str(space), int(number)) for name, (space, number) in order["seats"].items()}
    switch = Switch(seats, int(order["seed"]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    switch.run()


if __name__ == "__main__":
    main()
