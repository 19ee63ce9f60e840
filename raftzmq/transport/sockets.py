"""Every ZeroMQ socket option of the product, in one table with its reason.

No other module sets an option. MAXMSGSIZE bounds a single frame; that a message has few frames
is checked by whoever receives it.

No socket on the network may have a bound on what it receives. When the receive queue of a
connection is full and the other side resets it, libzmq 4.3.5 ends the process as soon as it has to
send a heartbeat, or to answer one that lies in what it had read already (assertion "!_io_error",
github.com/zeromq/libzmq issues 4364 and 4767). Any stranger could do that to a bound socket, and a
peer does it by itself: a node that was paused for a while wakes up to a full queue of a connection
that is gone. So the receivers bound what they keep (transport/shares.py), and what they have not
come to yet is bounded by the memory of the process (transport/doorman.py).
"""

from __future__ import annotations

import errno
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

import zmq

from raftzmq.errors import AddressInUse, ConfigError, StartError
from raftzmq.limits import MESSAGE_BYTES_MAX
from raftzmq.transport.allocator import bound_arenas

LIBZMQ_MIN: Final = (4, 3, 2)
"""Older ones let an unauthenticated peer overrun a buffer (CVE-2019-13132)."""

COPY_BYTES_MAX: Final = 64 << 10
"""Copying a smaller frame is cheaper than the bookkeeping of lending it to libzmq."""

Socket: TypeAlias = zmq.Socket[bytes]
Context: TypeAlias = zmq.Context[Socket]


class Purpose(Enum):
    """What a socket is for; the key of the table."""

    PEER_ROUTER = "receives the messages of other nodes"
    PEER_DEALER = "sends to one other node"
    CLIENT_ROUTER = "takes requests of clients and brokers at a node"
    WORKER_ROUTER = "hands requests to the REP workers of a node, inproc"
    WORKER_REP = "answers one request at a time, inproc"
    BROKER_ROUTER = "takes requests of clients at a broker"
    NODE_DEALER = "sends batches from a broker to one node"
    CLIENT_DEALER = "sends requests from a client to a broker or node"


class Option(NamedTuple):
    """One socket option: number, value, and why it has this value."""

    option: zmq.SocketOption
    value: int
    why: str


CHOSEN_ID_BYTES: Final = 5
"""A routing id that libzmq has chosen: a zero byte and a number. DEALERs of nodes choose none."""


class Profile(NamedTuple):
    """Type and options of the sockets of one purpose."""

    socket_type: zmq.SocketType
    options: tuple[Option, ...]


_ALWAYS: Final = (
    Option(zmq.LINGER, 0, "closing never waits; what was not delivered is sent again by others"),
)
_NETWORK: Final = (
    *_ALWAYS,
    Option(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX, "a larger frame is an attack: drop the connection"),
    Option(zmq.RCVHWM, 0, "a bound would let a lost connection end the process, see above"),
    Option(zmq.HANDSHAKE_IVL, 3_000, "a connection that never says what it is holds a descriptor"),
)
_CONNECTS: Final = (
    *_NETWORK,
    Option(zmq.HEARTBEAT_IVL, 1_000, "a machine without power closes no connection: ask it"),
    Option(zmq.HEARTBEAT_TIMEOUT, 5_000, "above the time the largest frame takes on a slow link"),
    Option(zmq.HEARTBEAT_TTL, 5_000, "the other side gives up at the same time, not much later"),
    Option(zmq.IMMEDIATE, 1, "nothing queues for a node that is down, to arrive outdated later"),
    Option(zmq.RECONNECT_IVL, 20, "a restarted node is found again well within an election"),
    Option(zmq.RECONNECT_IVL_MAX, 500, "a node that is down for long costs two attempts a second"),
)
_BINDS: Final = (
    *_NETWORK,
    Option(zmq.BACKLOG, 1_024, "all clients return at once when a node or broker restarts"),
    Option(zmq.TCP_KEEPALIVE, 1, "heartbeats are of those who connect; here the kernel asks"),
    Option(zmq.TCP_KEEPALIVE_IDLE, 5, "seconds of silence before it asks"),
    Option(zmq.TCP_KEEPALIVE_INTVL, 1, "seconds between two questions"),
    Option(zmq.TCP_KEEPALIVE_CNT, 5, "questions without an answer end the connection"),
    Option(zmq.TCP_MAXRT, 10_000, "who does not read for so long loses what waits for him"),
    Option(zmq.ROUTER_HANDOVER, 0, "a stranger must not take over the routing id of another"),
)
_FRONT: Final = (
    *_BINDS,
    Option(zmq.ROUTER_MANDATORY, 1, "a reply that nobody takes must be counted; it is dropped"),
    Option(zmq.SNDHWM, 1_000, "messages per client; what it has not read beyond that is dropped"),
)

SOCKETS: Final[dict[Purpose, Profile]] = {
    Purpose.PEER_ROUTER: Profile(
        zmq.ROUTER,
        (
            *_BINDS,
            Option(zmq.ROUTER_MANDATORY, 0, "never sends"),
        ),
    ),
    Purpose.PEER_DEALER: Profile(
        zmq.DEALER,
        (
            *_CONNECTS,
            Option(zmq.SNDHWM, 256, "Raft keeps fewer under way; beyond it drop, Raft repeats"),
        ),
    ),
    Purpose.CLIENT_ROUTER: Profile(zmq.ROUTER, _FRONT),
    Purpose.WORKER_ROUTER: Profile(
        zmq.ROUTER,
        (
            *_ALWAYS,
            Option(zmq.ROUTER_MANDATORY, 1, "a request to a worker that is gone must be noticed"),
            Option(zmq.SNDHWM, 1_000, "a worker is given one request at a time"),
            Option(zmq.RCVHWM, 1_000, "a worker has one reply at a time"),
        ),
    ),
    Purpose.WORKER_REP: Profile(
        zmq.REP,
        (
            *_ALWAYS,
            Option(zmq.SNDHWM, 1_000, "one reply at a time"),
            Option(zmq.RCVHWM, 1_000, "one request at a time"),
        ),
    ),
    Purpose.BROKER_ROUTER: Profile(zmq.ROUTER, _FRONT),
    Purpose.NODE_DEALER: Profile(
        zmq.DEALER,
        (
            *_CONNECTS,
            Option(zmq.SNDHWM, 64, "a few lanes, one batch each; more would hide a stuck node"),
        ),
    ),
    Purpose.CLIENT_DEALER: Profile(
        zmq.DEALER,
        (
            *_CONNECTS,
            Option(zmq.SNDHWM, 1_000, "beyond it the client itself must wait"),
        ),
    ),
}


_FOR_STRANGERS: Final = frozenset({Purpose.CLIENT_ROUTER, Purpose.BROKER_ROUTER})


def require_libzmq(found: tuple[int, int, int] | None = None) -> None:
    """Raise unless the ZeroMQ library is new enough.

    Args:
        found: version of libzmq; None asks the library.

    Raises:
        StartError: it is older than LIBZMQ_MIN.
    """
    version = zmq.zmq_version_info() if found is None else found
    if version < LIBZMQ_MIN:
        shown, wanted = (".".join(map(str, each)) for each in (version, LIBZMQ_MIN))
        raise StartError(f"libzmq {shown} is too old; install pyzmq with libzmq {wanted} or later")


def open_context() -> Context:
    """A context for one process, with an I/O thread of its own for the sockets of strangers.

    Raises:
        StartError: libzmq is too old.
    """
    require_libzmq()
    bound_arenas()
    context: Context = zmq.Context(io_threads=2)
    _lend_once(context)
    return context


def _lend_once(context: Context) -> None:
    """Lend libzmq a frame (``copy=False``) while the process has one thread.

    The first loan sets up pyzmq's garbage collector, and nothing keeps two threads from doing so
    at once (zmq/utils/garbage.py): several contexts then stay behind, and frames lent through all
    but the last of them are never given back. This one is when the sockets are closed.
    """
    with context.socket(zmq.PAIR) as lender, context.socket(zmq.PAIR) as taker:
        taker.bind("inproc://lend-once")
        lender.connect("inproc://lend-once")
        lender.send(bytes(COPY_BYTES_MAX + 1), copy=False)


def open_socket(context: Context, purpose: Purpose) -> Socket:
    """A socket with the type and options of ``purpose``, neither bound nor connected."""
    profile = SOCKETS[purpose]
    socket = context.socket(profile.socket_type)
    try:
        for option in profile.options:
            socket.setsockopt(option.option, option.value)
        if purpose in _FOR_STRANGERS and context.get(zmq.IO_THREADS) > 1:
            # What floods a client port must not hold up the bytes of other nodes.
            socket.setsockopt(zmq.AFFINITY, 0b10)
        else:
            socket.setsockopt(zmq.AFFINITY, 0b01)
    except zmq.ZMQError:
        socket.close()
        raise
    return socket


_WHY_NOT: Final = {
    zmq.EADDRINUSE: "another process listens there; stop it or choose another port",
    zmq.EADDRNOTAVAIL: "this machine has no such address; check the host part",
    errno.ENODEV: "this machine has no such network interface",
    errno.EACCES: "this user may not listen there; choose a port above 1023",
}


def bind(socket: Socket, address: str) -> None:
    """Listen on ``address``, for instance ``tcp://127.0.0.1:7001``.

    Raises:
        AddressInUse: the address is taken, not of this machine, or not permitted.
        ConfigError: it is no address.
    """
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        reason = _WHY_NOT.get(error.errno or 0)
        if reason is None:
            raise _no_address(address, error) from error
        raise AddressInUse(f"cannot listen on {address}: {reason}") from error


def connect(socket: Socket, address: str) -> None:
    """Connect to ``address``; the connection itself comes about later, in the background.

    Raises:
        ConfigError: it is no address.
    """
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        raise _no_address(address, error) from error


def _no_address(address: str, error: zmq.ZMQError) -> ConfigError:
    return ConfigError(
        f"{address!r} is no ZeroMQ address ({error.strerror}); write tcp://host:port"
    )
