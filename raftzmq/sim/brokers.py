"""A simulated broker: the production router in the order of ``broker/broker.py``, no sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from raftzmq.broker.routing import Router
from raftzmq.sim.schedule import Schedule


class BrokerWorld(Protocol):
    """What the world does for a broker."""

    def to_node(self, broker: SimBroker, node: str, frames: tuple[bytes, ...]) -> None:
        """Send to a node."""

    def to_client(self, broker: SimBroker, identity: bytes, frames: tuple[bytes, ...]) -> None:
        """Send to whoever is known by ``identity``."""


@dataclass(slots=True)
class _Inbox:
    answers: list[tuple[str, tuple[bytes, ...]]] = field(default_factory=list)
    links: list[tuple[str, bool]] = field(default_factory=list)
    requests: list[tuple[bytes, tuple[bytes, ...]]] = field(default_factory=list)


class SimBroker:
    """One broker through all its lives.

    Args:
        name: of the broker.
        nodes: name -> client address of each node.
        cluster: its id.
        schedule: virtual time.
        world: sends its messages.

    Attributes:
        up: whether its process runs.
        life: counts its starts.
        links: node -> how often this life connected to it; part of its identity there.
    """

    def __init__(
        self,
        name: str,
        nodes: Mapping[str, str],
        cluster: str,
        schedule: Schedule,
        world: BrokerWorld,
    ) -> None:
        self.name = name
        self.up = self.paused = False
        self.life = 0
        self.links: dict[str, int] = {}
        self._nodes = dict(nodes)
        self._cluster = cluster
        self._schedule = schedule
        self._world = world
        self._inbox = _Inbox()
        self._next_ms = -1

    def start(self) -> None:
        """Start the process: it remembers nothing."""
        self.life += 1
        self.up, self.paused = True, False
        self.router = Router(self._nodes, cluster=self._cluster, name=self.name)
        self.links = dict.fromkeys(self._nodes, 0)
        self._inbox = _Inbox()
        self._next_ms = -1
        self._round()

    def die(self) -> None:
        """The process is gone."""
        self.up = self.paused = False

    def resume(self) -> None:
        """The process goes on where it was stopped."""
        self.paused = False
        self._awake()

    def answer_arrived(self, node: str, frames: tuple[bytes, ...]) -> None:
        """A message of a node."""
        self._inbox.answers.append((node, frames))
        self._awake()

    def request_arrived(self, identity: bytes, frames: tuple[bytes, ...]) -> None:
        """A message of a client."""
        self._inbox.requests.append((identity, frames))
        self._awake()

    def link_changed(self, node: str, *, connected: bool) -> None:
        """The connection to a node came up, or broke."""
        self._inbox.links.append((node, connected))
        self._awake()

    def _awake(self) -> None:
        if self.up and not self.paused:
            self._round()

    def _due(self, life: int) -> None:
        if life == self.life and self._schedule.now_ms >= self._next_ms:
            self._next_ms = -1
            self._awake()

    def _round(self) -> None:
        inbox, self._inbox = self._inbox, _Inbox()
        router, now_ms = self.router, self._schedule.now_ms
        for node, frames in inbox.answers:
            router.from_node(node, frames, now_ms)
        for node, connected in inbox.links:
            if connected:
                self._observe(node)
            else:
                self.links[node] += 1
                router.node_lost(node, now_ms)
        for identity, frames in inbox.requests:
            router.from_client(identity, frames, now_ms)
        for node in router.unobserved(now_ms):
            self._observe(node)
        router.tick(now_ms)
        for node, _, batch in router.take_batches(now_ms):
            self._world.to_node(self, node, tuple(batch))
        for identity, reply in router.take_replies():
            self._world.to_client(self, identity, tuple(reply))
        self._set_timer(now_ms)

    def _set_timer(self, now_ms: int) -> None:
        wait_ms = max(1, self.router.wait_ms(now_ms))
        due_ms = now_ms + wait_ms
        if self._next_ms < 0 or due_ms < self._next_ms:
            self._next_ms = due_ms
            self._schedule.at(due_ms * 1000, self._due, self.life)

    def _observe(self, node: str) -> None:
        self._world.to_node(self, node, tuple(self.router.observe()))
