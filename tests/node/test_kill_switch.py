"""A kill stops the job it names, whenever it comes, and no other; no test waits for luck."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from raftzmq.errors import Killed, RequestError
from raftzmq.node.kill_switch import KillSwitch
from raftzmq.statemachine.readers import Reader
from tests.statemachine.world import World, payload

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
WHY = Killed("n1-0-1 was stopped")


class Recorder:
    """A reader that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def cancel(self, why: RequestError) -> None:
        self.told.append(why.message)

    def resume(self) -> None:
        self.told.append("resume")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    world = World(tmp_path)
    made = Reader(world.path)
    made.begin()  # as a worker does: nothing of the host may run while a kill can come
    yield made
    made.end()
    made.close()
    world.machine.close()


def run(reader: Reader, *sql: str, monotonic: Any = float) -> tuple[int, Any]:
    reply = reader.run(payload(*sql), timeout_ms=60_000, monotonic=monotonic)
    return reply.code, msgpack.unpackb(reply.body)


def test_the_running_job_is_stopped() -> None:
    switch, reader = KillSwitch(), Recorder()
    with switch.running(1, reader):
        switch.kill(1, WHY)
        assert reader.told == [WHY.message]
    assert reader.told == [WHY.message, "resume"]


def test_a_kill_of_a_job_that_has_ended_does_not_reach_the_next_one() -> None:
    switch, reader = KillSwitch(), Recorder()
    with switch.running(1, reader):
        pass
    switch.kill(1, WHY)
    with switch.running(2, reader):
        switch.kill(1, WHY)
    assert reader.told == ["resume", "resume"]


def test_a_kill_that_comes_before_its_job_begins_waits_for_it() -> None:
    switch, reader = KillSwitch(), Recorder()
    with switch.running(1, reader):
        switch.kill(2, WHY)
        assert reader.told == []
    with switch.running(2, reader):
        assert reader.told == ["resume", WHY.message]


def test_the_end_of_a_job_waits_for_a_kill_that_is_under_way() -> None:
    """Else the interrupt would be sent after the end, into whatever the worker does next."""
    switch = KillSwitch()
    steps: list[str] = []
    interrupting, go_on, leaving = threading.Event(), threading.Event(), threading.Event()

    class Slow(Recorder):
        def cancel(self, why: RequestError) -> None:
            interrupting.set()
            assert go_on.wait(10)
            steps.append("interrupted")

        def resume(self) -> None:
            steps.append("ended")

    def work() -> None:
        with switch.running(1, Slow()):
            assert interrupting.wait(10)
            leaving.set()

    worker = threading.Thread(target=work)
    killer = threading.Thread(target=switch.kill, args=(1, WHY))
    worker.start()
    killer.start()
    assert leaving.wait(10)
    # The worker is at the door now; were there no lock, it would pass before ``cancel`` is done.
    worker.join(0.05)
    go_on.set()
    killer.join(10)
    worker.join(10)
    assert steps == ["interrupted", "ended"]


def test_a_real_statement_is_stopped_and_the_next_is_not(reader: Reader) -> None:
    switch = KillSwitch()
    looked = threading.Event()

    def monotonic() -> float:
        looked.set()
        return 0.0

    def stop() -> None:
        assert looked.wait(10)
        switch.kill(1, WHY)

    killer = threading.Thread(target=stop)
    killer.start()
    with switch.running(1, reader):
        assert run(reader, ENDLESS, monotonic=monotonic) == (Killed.code, [WHY.message, ""])
    killer.join()
    for number in range(2, 50):
        with switch.running(number, reader):
            switch.kill(number - 1, WHY)
            assert run(reader, "SELECT 1")[0] == 0


def test_a_kill_between_two_statements_of_a_request_is_not_lost(reader: Reader) -> None:
    """SQLite forgets an interrupt that comes while nothing runs; the reader must not."""
    switch = KillSwitch()
    with switch.running(1, reader):
        switch.kill(1, WHY)
        assert run(reader, "SELECT 1")[0] == Killed.code
        assert run(reader, ENDLESS)[0] == Killed.code
    with switch.running(2, reader):
        assert run(reader, "SELECT 1")[0] == 0


def test_a_killed_snapshot_is_given_back(reader: Reader) -> None:
    switch = KillSwitch()
    with switch.running(1, reader):
        switch.kill(1, WHY)
        assert run(reader, ENDLESS)[0] == Killed.code
    reader.end()
    reader.begin()
    assert run(reader, "SELECT 1")[0] == 0
    reader.end()
