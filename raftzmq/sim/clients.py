"""A simulated client: the production pipeline and session over a channel without sockets.

A client asks one thing at a time. After an operation whose outcome it does not know it goes on
under a new name, as the rules of histories demand (checker/history.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from raftzmq.client.channel import Channel
from raftzmq.client.pipeline import Pipeline
from raftzmq.client.session import Call, Session
from raftzmq.sim.chance import Chance
from raftzmq.sim.schedule import Schedule
from raftzmq.wire.version import CLIENT_FRAME

CONNECT_MS: Final = 500
"""As in client/channel.py."""
PAUSE_MS: Final = 50
LONGEST_SLEEP_MS: Final = 1_000


class ClientWorld(Protocol):
    """What the world does for a client."""

    def connect(self, client: SimClient, address: str, epoch: int) -> None:
        """Try to connect; answered by ``SimChannel.connected`` if it works."""

    def to_server(self, client: SimClient, address: str, frames: tuple[bytes, ...]) -> None:
        """Send to the other end of the connection."""


class SimChannel:
    """What ``client.channel.Channel`` is to a pipeline."""

    def __init__(
        self, addresses: Sequence[str], schedule: Schedule, connect: Callable[[str, int], None]
    ) -> None:
        self.addresses = list(addresses)
        self.ready = False
        self.epoch = 0
        self._schedule = schedule
        self._connect = connect
        self._position = 0
        self._open = False
        self._lost = False
        self._opened_ms = 0
        self._next_open_ms = 0
        self._failed_in_a_row = 0
        self._inbox: deque[list[bytes]] = deque()
        self.send_frames: Callable[[tuple[bytes, ...]], None] = lambda frames: None

    @property
    def address(self) -> str:
        """The address in use or tried next."""
        return self.addresses[self._position]

    def close(self) -> None:
        """Close the connection; what is under way is nobody's any more."""
        self._open = self.ready = self._lost = False
        self.epoch += 1

    def go_elsewhere(self, address: str = "") -> None:
        """See ``Channel.go_elsewhere``."""
        self.close()
        if address and address not in self.addresses:
            self.addresses.append(address)
        if address in self.addresses:
            self._position = self.addresses.index(address)
            return
        self._position = (self._position + 1) % len(self.addresses)
        self._failed_in_a_row += 1
        if self._failed_in_a_row % len(self.addresses) == 0:
            self._next_open_ms = self._schedule.now_ms + PAUSE_MS

    def wait(self, timeout_ms: int) -> bool:
        """See ``Channel.wait``; never waits."""
        now_ms = self._schedule.now_ms
        if not self._open:
            if now_ms >= self._next_open_ms:
                self._open = True
                self._opened_ms = now_ms
                self._connect(self.address, self.epoch)
            return True
        if self._lost or (not self.ready and now_ms - self._opened_ms >= CONNECT_MS):
            self.go_elsewhere()
            return False
        return True

    def send(self, frame: bytes) -> bool:
        """See ``Channel.send``."""
        if not self.ready:
            return False
        self.send_frames((b"", CLIENT_FRAME, frame))
        return True

    def receive(self) -> list[bytes] | None:
        """See ``Channel.receive``."""
        if not self._inbox:
            return None
        self._failed_in_a_row = 0
        return self._inbox.popleft()

    def connected(self, epoch: int) -> None:
        """The handshake of the connection of this number succeeded."""
        if epoch == self.epoch and self._open:
            self.ready = True

    def broke(self, epoch: int) -> None:
        """The connection of this number is gone."""
        if epoch == self.epoch and self._open:
            self._lost = True

    def arrived(self, epoch: int, frames: tuple[bytes, ...]) -> None:
        """A message over the connection of this number."""
        if epoch == self.epoch and self.ready:
            self._inbox.append(list(frames[1:]))

    @property
    def due_ms(self) -> int:
        """When it has something to do by itself."""
        if not self._open:
            return self._next_open_ms
        return self._opened_ms + CONNECT_MS if not self.ready else 1 << 62


class SimClient:
    """One client process.

    Args:
        name: of the process; its sessions have names of their own.
        addresses: where it asks.
        schedule: virtual time.
        world: its network.
        chance: its own stream.
        done: told of each call that is done; may submit the next.

    Attributes:
        pipeline: of the session in use.
        sessions: counts them.
    """

    def __init__(
        self,
        name: str,
        addresses: Sequence[str],
        schedule: Schedule,
        world: ClientWorld,
        chance: Chance,
        done: Callable[[SimClient, Call], None],
    ) -> None:
        self.name = name
        self.chance = chance
        self.sessions = 0
        self._addresses = list(addresses)
        self._schedule = schedule
        self._world = world
        self._done = done
        self._next_ms = -1
        self._polling = False
        self._begin_session(0)

    def new_session(self) -> None:
        """Forget all, as a process that was started anew."""
        self._begin_session(self.channel.epoch + 1)

    def _begin_session(self, epoch: int) -> None:
        self.sessions += 1
        channel = SimChannel(
            self._addresses,
            self._schedule,
            lambda address, number: self._world.connect(self, address, number),
        )
        channel.epoch = epoch
        channel.send_frames = lambda frames: self._world.to_server(self, channel.address, frames)
        self.channel = channel
        session = Session(self.chance.bits(128).to_bytes(16, "big"))
        self.pipeline = Pipeline(cast(Channel, channel), session, lambda: self._schedule.now_ms)

    @property
    def session_name(self) -> str:
        """Who asks, in a history."""
        return f"{self.name}.{self.sessions}"

    def connected(self, epoch: int) -> None:
        """See ``SimChannel.connected``."""
        self.channel.connected(epoch)
        self.poll()

    def broke(self, epoch: int) -> None:
        """See ``SimChannel.broke``."""
        self.channel.broke(epoch)
        self.poll()

    def arrived(self, epoch: int, frames: tuple[bytes, ...]) -> None:
        """See ``SimChannel.arrived``."""
        self.channel.arrived(epoch, frames)
        self.poll()

    def poll(self) -> None:
        """Let the pipeline do what is due, and hand on what is done."""
        if self._polling:
            return
        self._polling = True
        try:
            while finished := self.pipeline.poll():
                for call in finished:
                    self._done(self, call)
        finally:
            self._polling = False
        if self.pipeline.unfinished:
            now_ms = self._schedule.now_ms
            due_ms = min(self.pipeline.wake_ms(now_ms + LONGEST_SLEEP_MS), self.channel.due_ms)
            self._sleep(max(now_ms + 1, due_ms))

    def _sleep(self, until_ms: int) -> None:
        if self._next_ms < 0 or until_ms < self._next_ms:
            self._next_ms = until_ms
            self._schedule.at(until_ms * 1000, self._due, until_ms)

    def _due(self, until_ms: int) -> None:
        if until_ms == self._next_ms:
            self._next_ms = -1
            self.poll()
