"""No reader has state.db open while a snapshot takes its place."""

from __future__ import annotations

import threading
from pathlib import Path

from raftzmq.node.gate import LentReader, StateGate


class Reader:
    """Counts what is done to it."""

    def __init__(self, path: Path) -> None:
        self.closed = False
        self.interrupted = False

    def interrupt(self) -> None:
        self.interrupted = True

    def close(self) -> None:
        self.closed = True


def test_install_waits_for_the_running_reader_interrupts_and_closes_it() -> None:
    gate = StateGate(Path("state.db"))
    lent = LentReader(gate, Reader)
    running, leave = threading.Event(), threading.Event()
    seen: list[Reader] = []

    def read() -> None:
        with gate.reading() as generation:
            reader = lent.current(generation)
            assert isinstance(reader, Reader)
            seen.append(reader)
            running.set()
            leave.wait()
            assert not reader.closed

    thread = threading.Thread(target=read)
    thread.start()
    running.wait()
    installed = threading.Event()

    def install() -> None:
        with gate.installing():
            assert seen[0].closed
            installed.set()

    installer = threading.Thread(target=install)
    installer.start()
    try:
        assert not installed.wait(0.05)
        assert seen[0].interrupted
    finally:
        leave.set()  # else a failure would never end: the interpreter waits for its threads
    installer.join()
    thread.join()
    assert installed.is_set()


def test_reader_is_opened_anew_after_an_install() -> None:
    gate = StateGate(Path("state.db"))
    lent = LentReader(gate, Reader)
    with gate.reading() as generation:
        first = lent.current(generation)
        assert lent.current(generation) is first
    with gate.installing():
        pass
    with gate.reading() as generation:
        assert lent.current(generation) is not first


def test_a_reader_that_opens_while_others_are_interrupted_is_interrupted_too() -> None:
    """An install, or the end of the node, would else wait for as long as its read takes."""
    gate = StateGate(Path("state.db"))
    late = Reader(gate.path)
    with gate.reading():
        installer = threading.Thread(target=lambda: gate.installing().__enter__())
        installer.start()
        while not gate._exclusive:
            pass
        gate.register(late)
        assert late.interrupted
    installer.join()
    assert late.closed
    ending = StateGate(Path("state.db"))
    ending.interrupt_all()
    later = Reader(ending.path)
    ending.register(later)
    assert later.interrupted
