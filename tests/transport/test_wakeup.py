from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator

import pytest
import zmq

from raftzmq.transport.wakeup import Mailbox


@pytest.fixture
def mailbox() -> Iterator[Mailbox[object]]:
    made: Mailbox[object] = Mailbox()
    yield made
    made.close()


def readable(mailbox: Mailbox[object], timeout_ms: int = 0) -> bool:
    poller = zmq.Poller()
    poller.register(mailbox.fileno(), zmq.POLLIN)
    return bool(poller.poll(timeout_ms))


def test_an_empty_mailbox_wakes_nobody(mailbox: Mailbox[object]) -> None:
    assert not readable(mailbox)
    assert mailbox.drain() == []


def test_objects_come_out_in_order_and_are_the_same_objects(mailbox: Mailbox[object]) -> None:
    first, second = object(), object()
    mailbox.put(first)
    mailbox.put(second)
    assert len(mailbox) == 2
    assert readable(mailbox)
    taken = mailbox.drain()
    assert taken[0] is first
    assert taken[1] is second
    assert not readable(mailbox)


def test_many_puts_cost_one_wake(mailbox: Mailbox[object]) -> None:
    for each in range(10):
        mailbox.put(each)
    assert os.eventfd_read(mailbox.fileno()) == 1
    assert mailbox.drain() == list(range(10))


def test_a_put_without_a_wake_waits_for_the_next_visit(mailbox: Mailbox[object]) -> None:
    mailbox.put(1, wake=False)
    assert len(mailbox) == 1
    assert not readable(mailbox)
    mailbox.wake()
    assert readable(mailbox)
    assert mailbox.drain() == [1]
    assert not readable(mailbox)


def test_a_put_after_a_drain_wakes_again(mailbox: Mailbox[object]) -> None:
    mailbox.put(1)
    mailbox.drain()
    mailbox.put(2)
    assert readable(mailbox)
    assert mailbox.drain() == [2]


def test_a_put_while_the_reader_takes_wakes_again(mailbox: Mailbox[object]) -> None:
    class Interrupted(deque[object]):
        """Lets another thread put once, between the reader's look and its taking."""

        def popleft(self) -> object:
            taken = super().popleft()
            if taken == "first":
                mailbox.put("second")
            return taken

    mailbox._items = Interrupted()
    mailbox.put("first")
    assert mailbox.drain() == ["first"]
    assert readable(mailbox), "second waits and nobody will come"
    assert mailbox.drain() == ["second"]


def test_no_wake_is_lost_between_threads(mailbox: Mailbox[object]) -> None:
    threads, each_puts = 4, 5_000

    def produce(name: int) -> None:
        for number in range(each_puts):
            mailbox.put((name, number))

    producers = [threading.Thread(target=produce, args=(name,)) for name in range(threads)]
    for producer in producers:
        producer.start()
    taken: list[object] = []
    while len(taken) < threads * each_puts:
        assert readable(mailbox, 5_000), f"slept with {len(taken)} taken, {len(mailbox)} waiting"
        taken += mailbox.drain()
    for producer in producers:
        producer.join()
    for name in range(threads):
        assert [pair for pair in taken if pair[0] == name] == [  # type: ignore[index]
            (name, number) for number in range(each_puts)
        ]


def test_closing_twice_and_a_late_put_do_no_harm() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.close()
    mailbox.close()
    mailbox.put(1)
    assert len(mailbox) == 1
