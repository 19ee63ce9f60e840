"""A cluster made for faults: namespaces, small disks, the library for disk and clock."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from raftzmq.chaos import disks, shim
from raftzmq.chaos.network import OUTSIDE, Network, check_possible
from raftzmq.chaos.processes import OwnProcesses
from raftzmq.chaos.stand import Stand
from raftzmq.chaos.switch import enter
from raftzmq.chaos.trouble import ChaosError
from raftzmq.config import ClusterConfig, LimitsConfig, NodeConfig, ProxyConfig, to_toml
from raftzmq.observe.ask import Asker
from raftzmq.transport.free_ports import free_ports

FILE: Final = "nodes.toml"
LAYOUT: Final = "chaos.json"
DISK_MB: Final = 192
"""Per node; for a run more is needed, by what clients write: see ``disk_mb``."""
_MB_PER_MINUTE: Final = 8
"""With four clients per workload that pause for 25 ms: some 400 operations a second were measured
to leave 1 MB a minute in state.db, of which there are copies while snapshots are under way."""
_BUSIER_MOST: Final = 20.0
"""No clients get more than so many times that through a cluster on one machine."""
_PEER, _CLIENT = 7101, 7201
_MIB: Final = 1 << 20
LIMITS: Final = LimitsConfig(
    # Small, so that a run of minutes compacts, sends snapshots, and feels its disks.
    log_bytes_max=4 * _MIB,
    log_keep_bytes=_MIB,
    log_memory_bytes=_MIB // 2,
    disk_reserve_bytes=16 * _MIB,
    checksum_interval_s=10,
    ledger_bytes_max=4 * _MIB,
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What to start.

    Attributes:
        nodes: how many.
        proxies: how many.
        loopback: on 127.0.0.1, without namespaces and without disks.
        seed: of what happens to packets.
        disk_mb: of each node; in memory, and so taken only as far as it is filled.
    """

    nodes: int = 3
    proxies: int = 2
    loopback: bool = False
    seed: int = 1
    disk_mb: int = DISK_MB


def disk_mb(minutes: float, clients: int, think_ms: float) -> int:
    """What the disk of a node has to hold at the end of a run, so that only a fault fills it."""
    busier = min(_BUSIER_MOST, max(1.0, clients / 4 * 25 / max(1.0, think_ms)))
    return DISK_MB + int(_MB_PER_MINUTE * busier * minutes)


class ChaosCluster:
    """A context manager; entering moves this thread, and those it starts, outside of the nodes'
    namespaces into that of clients, for good.

    Args:
        folder: absolute, empty or not there; keeps logs and nodes.toml. Data is on the disks.
        wish: what to start.
        sleep: see Stand.

    Raises:
        ChaosError: on entering: it is not possible here; the message says what to do.
    """

    def __init__(
        self, folder: Path, wish: Wish, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._folder = folder
        self._wish = wish
        self._sleep = sleep
        self._stack = ExitStack()
        self.stand: Stand
        self.processes: OwnProcesses
        self.network: Network | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        wish, folder = self._wish, self._folder
        if not wish.loopback:  # before anything is written
            disks.check_memory(wish.nodes * wish.disk_mb)
            check_possible()
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"n{number}" for number in range(1, wish.nodes + 1)]
        doors = [f"p{number}" for number in range(1, wish.proxies + 1)]
        library = folder / "faulty.so"
        if not wish.loopback or shim.compiler() is not None:
            shim.build(library)
        files = {
            name: shim.FaultFile(folder / f"{name}.faults") for name in names if library.exists()
        }
        if not wish.loopback:
            self.network = self._stack.enter_context(Network(folder, names + doors, wish.seed))
            for name in names:
                self._stack.callback(disks.unmount, folder / name)
                disks.mount(folder / name, megabytes=wish.disk_mb)
            enter(self.network.namespaces[OUTSIDE])
        config = self._config(names, doors)
        file = folder / FILE
        file.write_text(to_toml(config), encoding="utf-8")
        config = replace(config, source=file)
        before = {name: self.network.inside(name) if self.network else () for name in names + doors}
        self.processes = OwnProcesses(
            folder, file, before, {name: each.environment(library) for name, each in files.items()}
        )
        self._stack.callback(self.processes.stop)
        (folder / LAYOUT).write_text(json.dumps(self._layout(names)), encoding="utf-8")
        for name in names + doors:
            self.processes.start(name)
        asker = Asker({name: node.client for name, node in config.nodes.items()})
        self._stack.callback(asker.close)
        self.stand = Stand(
            config=config,
            processes=self.processes,
            asker=asker,
            control=self.network.control if self.network else None,
            shims=files,
            disks={} if wish.loopback else {name: disks.Ballast(folder / name) for name in names},
            sleep=self._sleep,
        )

    def _config(self, names: list[str], doors: list[str]) -> ClusterConfig:
        ports = iter(free_ports(2 * len(names) + len(doors)) if self._wish.loopback else ())

        def address(seat: str, port: int) -> str:
            if self.network is None:
                return f"tcp://127.0.0.1:{next(ports)}"
            return f"tcp://{self.network.address(seat)}:{port}"

        return ClusterConfig(
            cluster="chaos",
            nodes={
                name: NodeConfig(
                    name=name,
                    peer=address(name, _PEER),
                    client=address(name, _CLIENT),
                    # Not the disk itself, which could not be moved aside.
                    data=self._folder / name / "data",
                )
                for name in names
            },
            proxies={
                name: ProxyConfig(name=name, address=address(name, _PEER - 1)) for name in doors
            },
            limits=LIMITS,
        )

    def _layout(self, names: list[str]) -> dict[str, Any]:
        """For programs that come later; see ``read_layout``."""
        return {
            "network": self.network is not None,
            "namespaces": dict(self.network.namespaces) if self.network else {},
            "shims": {name: str(self._folder / f"{name}.faults") for name in names}
            if (self._folder / "faulty.so").exists()
            else {},
            "disks": {} if self._wish.loopback else {n: str(self._folder / n) for n in names},
        }


def read_layout(config: Path) -> dict[str, Any] | None:
    """What a ChaosCluster wrote beside its nodes.toml; None for any other cluster.

    Raises:
        ChaosError: it cannot be read.
    """
    file = config.absolute().with_name(LAYOUT)
    if not file.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ChaosError(f"{file}: cannot be read: {error}") from error
    return found


def empty_folder(folder: Path) -> None:
    """Make sure that nothing of an earlier run is mixed with a new one.

    Raises:
        ChaosError: there is something in it.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ChaosError(f"{folder} is not empty; name another folder with --out, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < 200 * _MIB:
        raise ChaosError(f"less than 200 MB are free for {folder}; name another with --out")
