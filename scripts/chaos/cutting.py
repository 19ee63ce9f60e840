"""TCP forwarders that can be cut like cables, for processes that do not know of them.

A program of its own, so that cutting never waits for the one who asked, driven over stdin::

    link n1>n2 20001 20002     listen on 20001, forward to 20002, under this name
    drop n1>n2 n2>n1           nothing passes any more, connections stay open: a pulled cable
    reset n1>n2                connections are reset, and each new one as well: a dead port
    break n1>n2                connections are reset once, new ones are welcome: a flapping link
    heal [n1>n2 ...]           let pass; without names all links

Each command is answered with one line, ``ok`` or ``error: ...``, after it has taken effect. What
was under way when a link was dropped stays in the kernel's buffers and arrives after ``heal``, as
TCP would repeat it when a cable is put back. No rights are needed.
"""

# ruff: noqa: T201  (its answers go to stdout)
from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
_CHUNK_BYTES = 256 << 10
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST


class Passage(Enum):
    """What a link does with bytes."""

    OPEN = "open"
    DROPPED = "dropped"
    RESET = "reset"


class CutterError(Exception):
    """The cutter refused a command, or has ended."""


class _Pair:
    """One connection through a link: two sockets, and what each could not take yet."""

    def __init__(self, link: _Link, near: socket.socket, far: socket.socket) -> None:
        self.link = link
        self.sides = (near, far)
        self.unsent = [b"", b""]

    def side(self, one: socket.socket) -> int:
        return 0 if one is self.sides[0] else 1


class _Link:
    """A listener, where it leads, and the connections through it."""

    def __init__(self, name: str, listener: socket.socket, target: int) -> None:
        self.name = name
        self.listener = listener
        self.target = target
        self.passage = Passage.OPEN
        self.pairs: set[_Pair] = set()


class Forwarder:
    """All links, one thread, one selector."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}
        self._selector = selectors.DefaultSelector()
        self._ended = False

    def run(self) -> None:
        """Serve until stdin ends."""
        os.set_blocking(sys.stdin.fileno(), False)
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._read_commands)
        self._text = b""
        while not self._ended:
            for key, events in self._selector.select():
                act: Callable[[int], None] = key.data
                act(events)

    def _read_commands(self, _: int) -> None:
        data = os.read(sys.stdin.fileno(), 1 << 16)
        if not data:
            self._ended = True
            return
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            try:
                self._command(line.decode().split())
            except (ValueError, KeyError, OSError) as error:
                print(f"error: {line.decode()}: {type(error).__name__} {error}", flush=True)
            else:
                print("ok", flush=True)

    def _command(self, words: list[str]) -> None:
        verb, *names = words
        if verb == "link":
            self._add(names[0], int(names[1]), int(names[2]))
            return
        links = [self._links[name] for name in names]
        if verb == "drop":
            for link in links:
                self._set(link, Passage.DROPPED)
        elif verb == "reset":
            for link in links:
                self._set(link, Passage.RESET)
                self._reset_all(link)
        elif verb == "break":
            for link in links:
                self._reset_all(link)
        elif verb == "heal":
            for link in links or self._links.values():
                self._set(link, Passage.OPEN)
        else:
            raise ValueError("no such command")

    def _add(self, name: str, port: int, target: int) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(256)
        listener.setblocking(False)
        link = self._links[name] = _Link(name, listener, target)
        self._selector.register(listener, selectors.EVENT_READ, lambda _: self._accept(link))

    def _set(self, link: _Link, passage: Passage) -> None:
        link.passage = passage
        for pair in list(link.pairs):
            self._watch(pair)
        # While it is dropped nobody is let in: as if SYN packets were lost.
        watched = link.listener.fileno() in self._selector.get_map()
        if passage is Passage.DROPPED and watched:
            self._selector.unregister(link.listener)
        elif passage is not Passage.DROPPED and not watched:
            act = lambda _: self._accept(link)  # noqa: E731
            self._selector.register(link.listener, selectors.EVENT_READ, act)

    def _accept(self, link: _Link) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            near, _ = link.listener.accept()
            if link.passage is Passage.RESET:
                _reset(near)
                return
            try:
                far = socket.create_connection((HOST, link.target), timeout=1)
            except OSError:
                _reset(near)  # the target is down: what a dead process looks like
                return
            pair = _Pair(link, near, far)
            for one in pair.sides:
                one.setblocking(False)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.pairs.add(pair)
            self._watch(pair)

    def _watch(self, pair: _Pair) -> None:
        """Wait for what each side may do now; for nothing while the link is dropped."""
        for side, one in enumerate(pair.sides):
            events = 0
            if pair.link.passage is not Passage.DROPPED:
                if not pair.unsent[1 - side]:
                    events |= selectors.EVENT_READ
                if pair.unsent[side]:
                    events |= selectors.EVENT_WRITE
            watched = one.fileno() in self._selector.get_map()
            if not events and watched:
                self._selector.unregister(one)
            elif events:
                act = lambda ready, pair=pair, one=one: self._move(pair, one, ready)  # noqa: E731
                change = self._selector.modify if watched else self._selector.register
                change(one, events, act)

    def _move(self, pair: _Pair, one: socket.socket, events: int) -> None:
        if pair not in pair.link.pairs or pair.link.passage is Passage.DROPPED:
            return  # another event of the same round closed or dropped it
        side = pair.side(one)
        try:
            if events & selectors.EVENT_WRITE:
                pair.unsent[side] = pair.unsent[side][one.send(pair.unsent[side]) :]
            if events & selectors.EVENT_READ and not pair.unsent[1 - side]:
                data = one.recv(_CHUNK_BYTES)
                if not data:
                    self._end(pair, abruptly=False)
                    return
                sent = _send(pair.sides[1 - side], data)
                if sent == len(data) and not pair.unsent[side]:
                    return  # the usual case, nothing to watch anew
                pair.unsent[1 - side] = data[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._end(pair, abruptly=True)
            return
        self._watch(pair)

    def _reset_all(self, link: _Link) -> None:
        for pair in list(link.pairs):
            self._end(pair, abruptly=True)

    def _end(self, pair: _Pair, *, abruptly: bool) -> None:
        pair.link.pairs.discard(pair)
        for one in pair.sides:
            if one.fileno() in self._selector.get_map():
                self._selector.unregister(one)
            if abruptly:
                _reset(one)
            else:
                one.close()


def _send(one: socket.socket, data: bytes) -> int:
    try:
        return one.send(data)
    except BlockingIOError:
        return 0


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    one.close()


class Cutter:
    """The program, started by whoever needs it; ends with ``close`` or with its starter."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def tell(self, *words: object) -> None:
        """Send one command and wait until it has taken effect.

        Raises:
            CutterError: it was refused, or the program has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
            self._process.stdin.flush()
        except OSError as error:
            raise CutterError(f"the cutter has ended: {error}") from error
        answer = self._process.stdout.readline().decode().strip()
        if answer != "ok":
            raise CutterError(answer or "the cutter has ended")

    def close(self) -> None:
        """End it; all connections through it break."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


if __name__ == "__main__":
    Forwarder().run()
