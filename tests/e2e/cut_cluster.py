"""A cluster whose every link can be cut, like a cable or like a dead port.

Each process has a nodes.toml of its own, in which the others stand at the addresses of links.
``clients`` and ``config`` name the real addresses: what is asked there goes past all cuts.
"""

from __future__ import annotations

from pathlib import Path

from raftzmq.transport.free_ports import free_ports
from scripts.chaos.cutting import Cutter
from tests.e2e.cluster import Cluster


class CutCluster(Cluster):
    """Links are named ``n1>n2`` (n1 sends to n2) and ``>n1`` (the proxy sends to n1)."""

    def __init__(self, folder: Path, size: int = 3, limits: str = "") -> None:
        super().__init__(folder, size, limits)
        self.cutter = Cutter()
        fronts = {name: self._link(f">{name}", self.clients[name]) for name in self.names}
        self._files: dict[str, Path] = {}
        for owner in (*self.names, "proxy"):
            text = self.config.read_text()
            for name in self.names:
                if name == owner:
                    continue
                text = text.replace(f'"{self.clients[name]}"', f'"{fronts[name]}"')
                if owner != "proxy":
                    link = self._link(f"{owner}>{name}", self.peers[name])
                    text = text.replace(f'"{self.peers[name]}"', f'"{link}"')
            self._files[owner] = folder / f"nodes-of-{owner}.toml"
            self._files[owner].write_text(text)

    def config_of(self, name: str) -> Path:
        return self._files[name]

    def links_of(self, name: str) -> list[str]:
        """Every link that begins or ends at a node."""
        others = [other for other in self.names if other != name]
        out = [f"{name}>{other}" for other in others]
        return [*out, *(f"{other}>{name}" for other in others), f">{name}"]

    def close(self) -> None:
        super().close()
        self.cutter.close()

    def _link(self, name: str, address: str) -> str:
        (port,) = free_ports(1)
        self.cutter.tell("link", name, port, address.rpartition(":")[2])
        return f"tcp://127.0.0.1:{port}"
