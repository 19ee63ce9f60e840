"""When a node may begin anew, without processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raftzmq.cli import rebuild as command
from raftzmq.cli.local_cluster import on_free_ports
from raftzmq.cli.main import app
from raftzmq.config import to_toml
from raftzmq.observe.holders import why_not_without
from raftzmq.storage.folder import DataFolder
from raftzmq.wire.status import NodeStatus, PeerStatus

THREE = ("n1", "n2", "n3")


def status(node: str, leader: str, term: int = 4, **fields: object) -> NodeStatus:
    made = NodeStatus(
        node=node,
        cluster="c",
        role="leader" if node == leader else "follower",
        term=term,
        leader=leader,
        leader_client_address="",
        commit_index=100,
        applied_index=100,
        last_index=100,
        first_index=1,
        contact_age_ms=0,
        pid=1,
        boot=1,
        version="0",
        reads=0,
        writes=0,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def cluster_of(match: int = 100, **fields: object) -> dict[str, NodeStatus]:
    """n1 leads, n3 follows, n2 is down."""
    peers = {
        "n3": PeerStatus(match=match, flow="replicate"),
        "n2": PeerStatus(match=100, flow="probe"),
    }
    return {"n1": status("n1", "n1", peers=peers), "n3": status("n3", "n1", **fields)}  # type: ignore[arg-type]


def test_a_majority_without_it_that_holds_everything_is_enough() -> None:
    assert why_not_without("n2", THREE, cluster_of()) is None


@pytest.mark.parametrize(
    ("statuses", "says"),
    [
        ({}, "no leader among the other nodes"),
        ({"n1": status("n1", "n2"), "n3": status("n3", "n2")}, "no leader"),
        ({"n1": cluster_of()["n1"]}, "only n1 of the 3 nodes"),
        (cluster_of(match=99), "only n1 of the 3"),
        (cluster_of(serves_reads=False), "only n1 of the 3"),
        (cluster_of(term=5), "only n1 of the 3"),
        ({**cluster_of(), "n2": status("n2", "n2", term=9)}, None),
    ],
)
def test_less_is_not(statuses: dict[str, NodeStatus], says: str | None) -> None:
    why = why_not_without("n2", THREE, statuses)
    assert (why is None) if says is None else (why is not None and says in why)


def test_of_five_two_others_are_not_enough() -> None:
    five = (*THREE, "n4", "n5")
    assert "and 3 must" in (why_not_without("n2", five, cluster_of()) or "")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nodes.toml of a cluster of which nothing runs; n2 has data."""
    monkeypatch.setattr(command, "PATIENCE_S", 0.0)
    config = on_free_ports(tmp_path / "data", nodes=3, proxies=0)
    made = tmp_path / "nodes.toml"
    made.write_text(to_toml(config))
    DataFolder.open(config.nodes["n2"].data, cluster=config.cluster, node="n2").close()
    return made


def run(file: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["rebuild", *words, "--config", str(file)])
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


def test_without_the_others_it_is_refused_and_forced_with_a_warning(file: Path) -> None:
    data = file.parent / "data" / "n2"
    code, said = run(file, "n2", "--yes")
    assert code == 1
    assert "no leader among the other nodes" in said
    assert data.exists()
    code, said = run(file, "n2", "--yes", "--force")
    assert code == 0
    assert "warning: no leader" in said
    assert f"{data}.damaged-1" in said
    assert (data.with_name("n2.damaged-1") / "identity.json").exists()
    assert not data.exists()
    assert "begins anew at its next start in any case" in run(file, "n2")[1]


def test_without_a_yes_nothing_is_moved(file: Path) -> None:
    code, said = run(file, "n2", "--force")
    assert code == 1
    assert "add --yes" in said
    assert (file.parent / "data" / "n2").exists()


def test_a_node_that_runs_is_named_with_its_process(file: Path) -> None:
    held = DataFolder.hold(file.parent / "data" / "n2")
    _, said = run(file, "n2", "--yes", "--force")
    held.close()
    assert "n2 runs as process" in said
    assert "raftzmq stop n2" in said


def test_a_name_that_is_none(file: Path) -> None:
    assert "no node is named 'n9'" in run(file, "n9")[1]
