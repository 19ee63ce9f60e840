"""Three nodes and a proxy of one's own on free loopback ports, every link of which can be cut.

With ``cuttable``, each node and the proxy have a nodes.toml of their own in which the others stand
at the addresses of links of a cutter. Links are named ``n1>n2`` (n1 sends to n2) and ``>n1``
(requests to n1). Nodes are also reached directly, past all links, at ``direct``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from cutting import Cutter
from processes import wait_until_gone

from raftzmq.chaos.trouble import ChaosError
from raftzmq.config import ClusterConfig, NodeConfig, ProxyConfig, load, to_toml
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import digests, leader_of, look
from raftzmq.transport.free_ports import free_ports
from raftzmq.wire.status import NodeStatus

WAIT_S = 60.0
ELECTION_S = 20.0
NAMES = ("n1", "n2", "n3")


class OwnCluster:
    """The processes; ``close`` ends all of them, whatever state they are in.

    Args:
        folder: empty; takes data, nodes.toml files and logs.
        cuttable: put a link of a cutter into every connection.
    """

    def __init__(self, folder: Path, *, cuttable: bool) -> None:
        self.folder = folder
        ports = free_ports(len(NAMES) * 5 + 1)
        peers = dict(zip(NAMES, ports, strict=False))
        clients = dict(zip(NAMES, ports[3:], strict=False))
        self.entrance = f"tcp://127.0.0.1:{ports[6]}"
        self._links = iter(ports[7:])
        self.config = ClusterConfig(
            cluster=f"chaos-{os.getpid()}",
            nodes={
                name: NodeConfig(
                    name=name,
                    peer=_address(peers[name]),
                    client=_address(clients[name]),
                    data=folder / name,
                )
                for name in NAMES
            },
            proxies={"proxy": ProxyConfig(name="proxy", address=self.entrance)},
        )
        self.direct = {name: _address(port) for name, port in clients.items()}
        self.cutter = Cutter() if cuttable else None
        self._files = self._write_files(peers, clients)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def _write_files(self, peers: dict[str, int], clients: dict[str, int]) -> dict[str, Path]:
        fronts = {name: self._link(f">{name}", clients[name]) for name in NAMES}
        files = {}
        for owner in (*NAMES, "proxy"):
            nodes = {
                name: node
                if name == owner
                else replace(
                    node,
                    client=fronts[name],
                    peer=self._link(f"{owner}>{name}", peers[name])
                    if owner in NAMES
                    else node.peer,
                )
                for name, node in self.config.nodes.items()
            }
            files[owner] = self.folder / f"nodes-of-{owner}.toml"
            files[owner].write_text(to_toml(replace(self.config, nodes=nodes)), encoding="utf-8")
            load(files[owner])
        return files

    def _link(self, name: str, target: int) -> str:
        if self.cutter is None:
            return _address(target)
        port = next(self._links)
        self.cutter.tell("link", name, port, target)
        return _address(port)

    def start(self, *names: str) -> None:
        """Start these processes, all of them without names."""
        for name in names or (*NAMES, "proxy"):
            with (self.folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "raftzmq.cli.main", "start", name),
                        *("--config", str(self._files[name])),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def pid(self, name: str) -> int:
        """Process id of a process that was started."""
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """``kill -9``, without waiting for its end."""
        self._processes[name].kill()

    def end(self, name: str) -> int:
        """Wait until the process has ended; its exit code.

        Raises:
            ChaosError: it does not end.
        """
        try:
            return self._processes[name].wait(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            raise ChaosError(f"{name} does not end") from None

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal."""
        self._processes[name].send_signal(number)

    def is_stopped(self, name: str) -> bool:
        """Whether SIGSTOP holds the process."""
        return _state(self.pid(name)) == "T"

    def cut_off(self, name: str, *, how: str = "drop") -> None:
        """Cut a node from its peers, the proxy and all clients but direct ones."""
        others = [other for other in NAMES if other != name]
        links = [f"{name}>{other}" for other in others] + [f"{other}>{name}" for other in others]
        self._cutter().tell(how, *links, f">{name}")

    def heal(self) -> None:
        """Put all cables back."""
        self._cutter().tell("heal")

    def _cutter(self) -> Cutter:
        if self.cutter is None:
            raise ChaosError("this cluster cannot be cut")
        return self.cutter

    def close(self) -> None:
        """End everything."""
        for process in self._processes.values():
            process.kill()  # works on stopped processes too
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.wait()
            wait_until_gone(process.pid)
        self._processes.clear()
        if self.cutter is not None:
            self.cutter.close()

    def tail(self) -> str:
        """The end of what each process said."""
        return "\n".join(
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-25:])
            for log in sorted(self.folder.glob("*.log"))
        )


def wait_for_leader(
    asker: Asker, names: list[str] | None = None, *, beyond_term: int = 0
) -> NodeStatus:
    """The leader among ``names`` as soon as one of a later term says that it leads.

    Raises:
        ChaosError: none does.
    """
    deadline = time.monotonic() + ELECTION_S
    while time.monotonic() < deadline:
        found = leader_of(look(asker, timeout_ms=200, names=names))
        if found is not None and found.term > beyond_term:
            return found
        time.sleep(0.005)
    raise ChaosError(f"no leader of a later term than {beyond_term} within {ELECTION_S:.0f} s")


def wait_until_whole(asker: Asker) -> NodeStatus:
    """Wait until all nodes follow one leader and have applied what it has committed by now.

    Returns:
        The leader's status.

    Raises:
        ChaosError: that does not come about.
    """
    deadline = time.monotonic() + WAIT_S
    goal: NodeStatus | None = None
    while time.monotonic() < deadline:
        seen = look(asker, timeout_ms=300)
        leader = leader_of(seen)
        together = leader is not None and all(
            (status.term, status.leader) == (leader.term, leader.node) for status in seen.values()
        )
        if len(seen) < len(NAMES) or not together:
            goal = None
        elif goal is None or (leader is not None and goal.term != leader.term):
            goal = leader
        elif all(status.applied_index >= goal.commit_index for status in seen.values()):
            return goal
        time.sleep(0.02)
    raise ChaosError(f"the cluster is not whole again after {WAIT_S:.0f} s")


def equal_digests(asker: Asker) -> str:
    """ "equal" once all nodes have the same content at the same index, else what they have."""
    deadline = time.monotonic() + WAIT_S
    seen: dict[str, tuple[int, str]] = {}
    while time.monotonic() < deadline:
        seen = digests(asker, timeout_ms=20_000)
        if len(seen) == len(NAMES) and len(set(seen.values())) == 1:
            return "equal"
        time.sleep(0.1)
    return "DIFFER " + " ".join(f"{n}:{i}:{d[:8]}" for n, (i, d) in sorted(seen.items()))


def _address(port: int) -> str:
    return f"tcp://127.0.0.1:{port}"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
