"""The sockets of a broker around ``routing.Router``: one thread, one drained poll loop.

A ROUTER faces the clients, one DEALER each node. Each round takes what has arrived, lets the
router decide, and sends what came of it; the more arrives meanwhile, the more one round shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import zmq
from zmq.utils.monitor import parse_monitor_message

from raftzmq import limits
from raftzmq.broker.routing import Router
from raftzmq.transport.clock import monotonic_ms
from raftzmq.transport.cycles import OldCycles
from raftzmq.transport.doorman import Doorman
from raftzmq.transport.frames import is_readable, receive, send
from raftzmq.transport.intake import Intake
from raftzmq.transport.readiness import Readiness
from raftzmq.transport.sockets import Context, Purpose, Socket, bind, connect, open_socket

CLOSE_LINGER_MS: Final = 200
"""The last replies may take so long to leave; LINGER 0 would drop the refusals at a stop."""
DRAIN_MESSAGES_MAX: Final = 512
"""Messages taken from one socket per round, so that a busy client cannot starve the nodes."""


class Broker:
    """One broker process or thread.

    Args:
        addresses: to bind for clients.
        nodes: name -> client address of each node.
        cluster: name of the cluster; status of another one is not believed. Empty: any.
        name: what the broker calls itself in its replies.
        requests_max: requests held at the same time.
        bytes_max: bytes of these requests.
        context: ZeroMQ context; by default the one of the process.

    Raises:
        AddressInUse: an address cannot be bound.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        nodes: Mapping[str, str],
        *,
        cluster: str = "",
        name: str = "broker",
        requests_max: int = limits.BROKER_QUEUE_REQUESTS_MAX,
        bytes_max: int = limits.BROKER_QUEUE_BYTES_MAX,
        context: Context | None = None,
    ) -> None:
        self._context = context or zmq.Context.instance()
        self.router = Router(
            nodes, cluster=cluster, name=name, requests_max=requests_max, bytes_max=bytes_max
        )
        self._readiness = Readiness()
        self._old_cycles = OldCycles(monotonic_ms())
        self._nodes: dict[str, Socket] = {}
        self._monitors: dict[str, Socket] = {}
        self._names: dict[str, tuple[int, int]] = {}
        self._frontend = open_socket(self._context, Purpose.BROKER_ROUTER)
        self._intake = Intake(self._frontend, DRAIN_MESSAGES_MAX)
        self._doorman = Doorman({"client": self._frontend})
        self._clients = self._readiness.watch(self._frontend)
        try:
            for address in addresses:
                bind(self._frontend, address)
            for node, address in nodes.items():
                self._open_node(node, address)
        except BaseException:
            self.close()
            raise

    def _open_node(self, node: str, address: str) -> None:
        dealer = open_socket(self._context, Purpose.NODE_DEALER)
        monitor = dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._nodes[node] = dealer
        self._monitors[node] = monitor
        self._names[node] = (
            self._readiness.watch(monitor, receives_only=True),
            self._readiness.watch(dealer),
        )
        connect(dealer, address)

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop()`` is true (asked at least every REST_MS_MAX), then close."""
        self._doorman.start()
        try:
            while not stop():
                self.round()
            self.router.shut_down()
            self._send_replies()
        finally:
            self.close()

    def round(self) -> None:
        """One round of the loop; waits at most ``routing.REST_MS_MAX`` for something to do."""
        router = self.router
        router.dropped_at_sockets = self._doorman.seen
        ready = self._readiness.wait(router.wait_ms(monotonic_ms()))
        now_ms = monotonic_ms()
        for node, (monitor, _) in self._names.items():
            if monitor in ready:
                self._read_monitor(node, self._monitors[node], now_ms)
        for node, (_, dealer) in self._names.items():
            if dealer in ready:
                self._take_answers(node, self._nodes[node], now_ms)
        if self._clients in ready:
            self._take_requests(now_ms)
        for node in router.unobserved(now_ms):
            self._observe(node)
        router.tick(now_ms)
        if self._old_cycles.is_due(now_ms, busy=router.busy):
            self._old_cycles.collect()
        self._send_batches(now_ms)
        self._send_replies()

    def _take_requests(self, now_ms: int) -> None:
        take = self.router.from_client
        for frames in self._intake.turn():
            if not take(cast(bytes, frames[0]), frames[1:], now_ms):
                self._intake.refused()
        self.router.counters.dropped_overlong = self._intake.overlong
        self.router.counters.dropped_departed = self._intake.departed.dropped

    def _take_answers(self, node: str, dealer: Socket, now_ms: int) -> None:
        try:
            for _ in range(DRAIN_MESSAGES_MAX):
                self.router.from_node(node, receive(dealer), now_ms)
                if not is_readable(dealer):
                    return
        except zmq.Again:
            return

    def _read_monitor(self, node: str, monitor: Socket, now_ms: int) -> None:
        try:
            while True:
                event = parse_monitor_message(monitor.recv_multipart(zmq.DONTWAIT))["event"]
                if event == zmq.EVENT_DISCONNECTED:
                    # Answers that arrived before the connection broke are answers.
                    self._take_answers(node, self._nodes[node], now_ms)
                    self.router.node_lost(node, now_ms)
                elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    self._observe(node)
        except zmq.Again:
            return

    def _observe(self, node: str) -> None:
        try:
            send(self._nodes[node], self.router.observe())
        except zmq.Again:
            return

    def _send_batches(self, now_ms: int) -> None:
        for node, batch_id, frames in self.router.take_batches(now_ms):
            try:
                send(self._nodes[node], frames)
            except zmq.Again:
                self.router.not_sent(batch_id, now_ms)

    def _send_replies(self) -> None:
        for identity, frames in self.router.take_replies():
            try:
                send(self._frontend, (identity, *frames))
            except zmq.ZMQError as error:
                # The client is gone, or takes nothing: it will ask again, under the same name.
                self.router.counters.dropped_reply += 1
                if error.errno == zmq.EHOSTUNREACH:
                    self._intake.departed.note(identity)
                    self.router.client_left(identity)

    def close(self) -> None:
        """Close all sockets; what the clients have not taken yet gets a moment to leave."""
        self._readiness.close()
        for node, dealer in self._nodes.items():
            dealer.disable_monitor()
            self._monitors[node].close(0)
            dealer.close(0)
        self._nodes.clear()
        self._monitors.clear()
        self._doorman.stop()
        self._frontend.close(CLOSE_LINGER_MS)
