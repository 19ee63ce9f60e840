"""A real cluster for tests: processes, ports, folders; always reaped.

Waiting here polls a condition with a deadline: it is the world outside, with real time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import zmq

from raftzmq.transport.free_ports import free_ports

WAIT_S = 60.0


def ask(
    address: str,
    kind: int,
    payload: bytes = b"",
    *,
    level: int = 0,
    timeout_ms: int = 5000,
    client: bytes = b"",
    sequence: int = 0,
    flags: int = 0,
) -> tuple[int, int, Any]:
    """Ask a node or broker as a stranger would: a REQ socket, msgpack, nothing of ours.

    Returns:
        (code, index, body): the body decoded.

    Raises:
        TimeoutError: no answer.
    """
    context = zmq.Context.instance()
    with context.socket(zmq.REQ) as request:
        request.setsockopt(zmq.LINGER, 0)
        request.connect(address)
        blob = msgpack.packb(
            [kind, client, sequence, level, 0, 0, timeout_ms, flags, payload], use_bin_type=True
        )
        request.send_multipart([b"RZQ\x01", msgpack.packb([blob], use_bin_type=True)])
        if not request.poll(timeout_ms + 1000):
            raise TimeoutError(f"{address} did not answer")
        _, frame = request.recv_multipart()
    (reply,) = msgpack.unpackb(frame)
    _, _, code, index, body, _, _ = msgpack.unpackb(reply)
    return code, index, msgpack.unpackb(body) if body else None


def statements(*sql: str) -> bytes:
    """Payload of statements without parameters."""
    packed: bytes = msgpack.packb([[one, []] for one in sql])
    return packed


class Cluster:
    """Nodes n1..nN and proxies in ``folder``; ``proxy`` is the address of the first.

    Args:
        folder: empty directory of the test.
        size: number of nodes.
        limits: lines for ``[limits]`` of nodes.toml.
        differing: lines for it that only some nodes have, by name.
        proxies: how many; the first is named ``proxy``, the others ``proxy2`` and so on.
    """

    def __init__(
        self,
        folder: Path,
        size: int = 3,
        limits: str = "",
        differing: dict[str, str] | None = None,
        proxies: int = 1,
    ) -> None:
        self.folder = folder
        self.names = [f"n{number}" for number in range(1, size + 1)]
        ports = free_ports(2 * size + proxies)
        self.clients = {
            name: f"tcp://127.0.0.1:{port}" for name, port in zip(self.names, ports, strict=False)
        }
        self.peers = {
            name: f"tcp://127.0.0.1:{port}"
            for name, port in zip(self.names, ports[size:], strict=False)
        }
        self.proxies = {
            f"proxy{number}" if number > 1 else "proxy": f"tcp://127.0.0.1:{port}"
            for number, port in enumerate(ports[2 * size :], start=1)
        }
        self.proxy = self.proxies["proxy"]
        self.config = folder / "nodes.toml"
        self.configs: dict[str, Path] = {}
        lines = ['[cluster]\nid = "test"\n']
        for name, peer in self.peers.items():
            lines.append(
                f'[nodes.{name}]\npeer = "{peer}"\n'
                f'client = "{self.clients[name]}"\ndata = "{folder / name}"\n'
            )
        lines += [
            f'[proxies.{name}]\naddress = "{address}"\n' for name, address in self.proxies.items()
        ]
        lines.append(f"[limits]\n{limits}\n")
        self.config.write_text("\n".join(lines))
        for name, more in (differing or {}).items():
            self.configs[name] = folder / f"nodes-{name}.toml"
            self.configs[name].write_text("\n".join([*lines, more]))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment: dict[str, dict[str, str]] = {}
        """Additions to the environment of a process, by its name."""

    def start(self, *names: str) -> None:
        """Start processes; without names all nodes and proxies."""
        for name in names or (*self.names, *self.proxies):
            with (self.folder / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "raftzmq.cli.main",
                        "start",
                        name,
                        "--config",
                        str(self.config_of(name)),
                    ],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **self.environment.get(name, {})},
                )

    def config_of(self, name: str) -> Path:
        """The nodes.toml that a process is started with."""
        return self.configs.get(name, self.config)

    def kill(self, *names: str) -> None:
        """kill -9 all of ``names`` at once."""
        for name in names:
            os.kill(self.processes[name].pid, signal.SIGKILL)
        for name in names:
            self.processes.pop(name).wait()

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a process."""
        os.kill(self.processes[name].pid, number)

    def terminate(self, name: str) -> int:
        """SIGTERM; returns the exit code."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(timeout=WAIT_S)

    def close(self) -> None:
        """Reap everything."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()

    def status(self, name: str) -> dict[str, Any] | None:
        """NodeStatus of a node; None when it does not answer."""
        try:
            code, _, body = ask(self.clients[name], 3, timeout_ms=300)
        except TimeoutError:
            return None
        return body if code == 0 else None

    def leader(self, *among: str) -> str | None:
        """The leader of the highest term among the running nodes that answer."""
        best: tuple[int, str] | None = None
        for name in among or self.names:
            status = self.status(name) if name in self.processes else None
            if status is None or status["role"] != "leader":
                continue
            if best is None or status["term"] > best[0]:
                best = (status["term"], name)
        return best[1] if best else None

    def wait_for_leader(self, *among: str) -> str:
        """Wait until one of ``among`` leads."""
        return wait_for(lambda: self.leader(*among), "a leader")

    def wait_caught_up(self, *names: str) -> int:
        """Wait until all of ``names`` applied what the furthest has; returns that index.

        Only for a cluster that nobody writes to: under load each answer is of another moment,
        and three that agree are luck. There, `wait_follows`.
        """

        def same() -> int | None:
            states = [self.status(name) for name in names or self.names]
            indexes = {state["applied_index"] if state else None for state in states}
            commits = {state["commit_index"] if state else None for state in states}
            return indexes.pop() if len(indexes) == 1 and indexes == commits else None

        return wait_for(same, "all nodes at the same index")

    def wait_follows(self, name: str) -> None:
        """Wait until ``name`` applied all that is committed at this moment, as far as any knows."""
        states = [state for state in map(self.status, self.names) if state is not None]
        committed = max(state["commit_index"] for state in states)

        def applied() -> bool:
            status = self.status(name)
            return status is not None and status["applied_index"] >= committed

        wait_for(applied, f"{name} having applied entry {committed}")

    def wait_for_member(self, name: str) -> None:
        """Wait until nothing keeps ``name`` from voting and acknowledging."""

        def is_member() -> bool:
            status = self.status(name)
            return status is not None and "standing" not in status["conditions"]

        wait_for(is_member, f"{name} being a member")

    def digests(self) -> set[tuple[int, str]]:
        """(index, content hash) of each node."""
        return {tuple(ask(self.clients[name], 4)[2]) for name in self.names}

    def write(self, *sql: str, timeout_ms: int = 10_000) -> tuple[int, int, Any]:
        """Write through the proxy, without a client id."""
        return ask(self.proxy, 1, statements(*sql), timeout_ms=timeout_ms)

    def read(self, sql: str, *, at: str | None = None, level: int = 0) -> list[tuple[Any, ...]]:
        """Rows of a query through the proxy or at a node."""
        code, _, body = ask(self.clients[at] if at else self.proxy, 2, statements(sql), level=level)
        assert code == 0, body
        return [tuple(row) for row in body[0][3]]


def wait_for(
    condition: Callable[[], Any], what: str, seconds: float = WAIT_S, *, pause_s: float = 0.02
) -> Any:
    """Poll ``condition`` until it is true; returns its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(pause_s)
    raise TimeoutError(f"waited {seconds} s for {what}")
