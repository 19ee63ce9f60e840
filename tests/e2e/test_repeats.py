"""A request that is sent again to a node which still works on it is not worked on twice."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest
import zmq

from tests.e2e.cluster import Cluster, statements, wait_for

pytestmark = pytest.mark.e2e
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
READ, STALE, AGAIN = 2, 2, 64
TIMEOUT_MS = 1_500


def request(sequence: int, flags: int, sql: str) -> list[bytes]:
    blob = msgpack.packb(
        [READ, b"client-0", sequence, STALE, 0, 0, TIMEOUT_MS, flags, statements(sql)]
    )
    return [b"", b"RZQ\x01", msgpack.packb([blob])]


def sequences(socket: zmq.Socket[bytes], count: int) -> list[int]:
    """Of ``count`` replies, and of any that come until long after every deadline."""
    found: list[int] = []
    while socket.poll(2 * TIMEOUT_MS if len(found) >= count else 20 * TIMEOUT_MS):
        for blob in msgpack.unpackb(socket.recv_multipart()[2]):
            found.append(msgpack.unpackb(blob)[1])
    return found


def test_repeated_read_is_ignored_while_it_runs_and_served_when_its_answer_was_given(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(size=1)
    cluster.start("n1")
    cluster.wait_for_leader()

    def served() -> int:
        state = cluster.status("n1")
        return state["reads"] if state else 0

    before = served()
    with zmq.Context.instance().socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(cluster.clients["n1"])
        socket.send_multipart(request(7, 0, ENDLESS))
        wait_for(lambda: served() == before + 1, "the read to begin")
        socket.send_multipart(request(7, AGAIN, ENDLESS))
        socket.send_multipart(request(8, AGAIN, "SELECT 1"))
        assert sorted(sequences(socket, 2)) == [7, 8], "one answer each"
        assert served() == before + 2
        socket.send_multipart(request(7, AGAIN, "SELECT 1"))
        assert sequences(socket, 1) == [7]
