"""Kills or pauses the leader of a running cluster on this machine, and watches what follows.

Run by kill-leader.sh and pause-leader.sh. Signals go only to processes of this machine: see
running.py for which clusters, and the process must hold the lock of its node.
"""

# ruff: noqa: T201  (printing is what this program is for)
from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from running import find_cluster, is_kept, open_stand, seconds, start_command

import raftzmq
from raftzmq.chaos.trouble import ChaosError
from raftzmq.cli.running import pid_of
from raftzmq.config import ClusterConfig
from raftzmq.errors import RaftzmqError
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import leader_of
from raftzmq.wire.client import Kind
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.status import NodeStatus, decode_status

WAIT_S = 15.0
"""For a leader to be there, and for the next one to be elected."""


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args()
    # Whoever stops this script must not leave a leader paused: finally clauses have to run.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    try:
        config = find_cluster(arguments.config)
        with Asker({name: node.client for name, node in config.nodes.items()}) as asker:
            old = _wait_for_leader(asker, config.nodes, beyond_term=0)
            _check_holds_its_lock(config, old)
            check_majority_without(old.node, config.nodes, _ask(asker, list(config.nodes)))
            print(f"{old.node} leads in term {old.term}, process {old.pid}")
            if arguments.what == "kill":
                _kill(config, asker, old, restart=arguments.restart)
            else:
                _pause(config, asker, old, arguments.seconds)
    except RaftzmqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Kill or pause the leader and watch.")
    commands = parser.add_subparsers(dest="what", required=True)
    kill = commands.add_parser("kill")
    kill.add_argument("--restart", action="store_true")
    pause = commands.add_parser("pause")
    pause.add_argument("--seconds", type=seconds, default=3.0)
    for command in (kill, pause):
        command.add_argument("--config", type=Path, default=None)
    return parser


def _kill(config: ClusterConfig, asker: Asker, old: NodeStatus, *, restart: bool) -> None:
    others = [name for name in config.nodes if name != old.node]
    with raftzmq.connect(*_entrances(config, old.node)) as database:
        database.read("SELECT 1")
        began = time.monotonic()
        os.kill(old.pid, signal.SIGKILL)
        print(f"kill -9 {old.pid}")
        _report_successor(asker, others, old, began)
        database.read("SELECT 1")
        print(f"a linearizable read was answered {_since(began)} after the kill")
    if restart:
        with open_stand(config) as stand:
            stand.processes.start(old.node)
            stand.wait_until_whole()
        print(f"{old.node} runs again, and holds all that was committed")
    elif is_kept(config):
        print(f"{old.node} is started again by scripts/chaos/cluster.sh")
    else:
        print(f"{old.node} is down unless something restarts it: {start_command(config, old.node)}")


def _pause(config: ClusterConfig, asker: Asker, old: NodeStatus, seconds: float) -> None:
    others = [name for name in config.nodes if name != old.node]
    began = time.monotonic()
    os.kill(old.pid, signal.SIGSTOP)
    try:
        print(f"kill -STOP {old.pid}")
        new = _report_successor(asker, others, old, began)
        time.sleep(max(0.0, began + seconds - time.monotonic()))
    finally:
        os.kill(old.pid, signal.SIGCONT)
    woke = time.monotonic()
    print(f"kill -CONT {old.pid} after {_since(began)}")
    while True:
        seen = _ask(asker, [old.node]).get(old.node)
        if seen is not None and seen.role != "leader" and seen.term >= new.term:
            break
        if time.monotonic() - woke > WAIT_S:
            raise ChaosError(f"{old.node} has not stepped down {WAIT_S:.0f} s after it woke up")
    print(
        f"{old.node} stepped down: {seen.role} of {seen.leader or 'nobody yet'} in term "
        f"{seen.term}, {_since(woke)} after it woke up"
    )


def _report_successor(asker: Asker, others: list[str], old: NodeStatus, began: float) -> NodeStatus:
    new = _wait_for_leader(asker, others, beyond_term=old.term)
    print(f"{new.node} leads in term {new.term}, after {_since(began)}")
    return new


def _wait_for_leader(asker: Asker, names: Iterable[str], *, beyond_term: int) -> NodeStatus:
    wanted = list(names)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        statuses = _ask(asker, wanted)
        leader = leader_of(statuses)
        if leader is not None and leader.term > beyond_term:
            return leader
        time.sleep(0.001)
    raise ChaosError(
        f"no leader among {', '.join(wanted)} within {WAIT_S:.0f} s; is the cluster running? "
        f"see raftzmq status"
    )


def _ask(asker: Asker, names: list[str]) -> dict[str, NodeStatus]:
    statuses: dict[str, NodeStatus] = {}
    for name, reply in asker.ask(Kind.STATUS, names=names, timeout_ms=200).items():
        if reply.code == 0:
            try:
                statuses[name] = decode_status(reply.body)
            except DecodeError:
                continue
    return statuses


def _check_holds_its_lock(config: ClusterConfig, status: NodeStatus) -> None:
    """A pid from a message is a claim; a signal to the wrong process cannot be taken back."""
    if pid_of(config, status.node) != status.pid:
        raise ChaosError(
            f"process {status.pid}, which says that it is {status.node}, does not hold the lock of "
            f"{status.node} on this machine; is this the nodes.toml that it was started with?"
        )


def check_majority_without(
    leader: str, nodes: Iterable[str], statuses: Mapping[str, NodeStatus]
) -> None:
    """Nobody could take over: that is no test of a cluster, it only stops it.

    Raises:
        ChaosError: the nodes that answer are no majority without their leader.
    """
    names = list(nodes)
    left = [name for name in names if name in statuses and name != leader]
    if len(left) < len(names) // 2 + 1:
        silent = [name for name in names if name not in statuses]
        raise ChaosError(
            f"without {leader} there is no majority of {len(names)} nodes to go on"
            + (f", since {', '.join(silent)} does not answer; start it first" if silent else "")
        )


def _entrances(config: ClusterConfig, without: str) -> list[str]:
    proxies = [proxy.address for proxy in config.proxies.values()]
    return proxies or [node.client for node in config.nodes.values() if node.name != without]


def _since(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
