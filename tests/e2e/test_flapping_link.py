"""One link that breaks again and again must not cost a healthy leader its office."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import raftzmq
from raftzmq.errors import RequestError
from tests.e2e.cut_cluster import CutCluster

pytestmark = pytest.mark.e2e
FLAPS = 60
PERIOD_S = 0.075


@pytest.mark.parametrize("how", ["both ways", "follower sends", "leader sends"])
def test_flapping_link_deposes_nobody_and_writes_go_on(tmp_path: Path, how: str) -> None:
    cluster = CutCluster(tmp_path)
    try:
        cluster.start()
        leader = cluster.wait_for_leader()
        follower = next(name for name in cluster.names if name != leader)
        links = {
            "both ways": [f"{follower}>{leader}", f"{leader}>{follower}"],
            "follower sends": [f"{follower}>{leader}"],
            "leader sends": [f"{leader}>{follower}"],
        }[how]
        code, _, body = cluster.write("CREATE TABLE t (v)")
        assert code == 0, body
        before = cluster.status(leader)
        assert before is not None
        over = threading.Event()
        waits: list[float] = []
        errors: list[RequestError] = []

        def load() -> None:
            with raftzmq.connect(cluster.proxy) as database:
                while not over.is_set():
                    began = time.monotonic()
                    try:
                        database.write("INSERT INTO t VALUES (1)")
                        database.read("SELECT count(*) FROM t")
                    except RequestError as error:
                        errors.append(error)
                    waits.append(time.monotonic() - began)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for _ in range(FLAPS):
                cluster.cutter.tell("break", *links)
                time.sleep(PERIOD_S)  # the period of the fault itself
        finally:
            over.set()
            thread.join()
        after = cluster.status(leader)
        assert after is not None
        assert (after["role"], after["term"]) == ("leader", before["term"])
        losses = (cluster.folder / f"{follower}.log").read_text().count("lost")
        losses += (cluster.folder / f"{leader}.log").read_text().count("lost")
        assert losses >= FLAPS // 4, "the link did not flap"
        assert errors == []
        assert len(waits) >= 50
        cluster.wait_caught_up()
        assert cluster.read("SELECT count(*) FROM t") == [(len(waits),)]
        assert len(cluster.digests()) == 1
    finally:
        cluster.close()
        for log in sorted(cluster.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-3000:]}")
