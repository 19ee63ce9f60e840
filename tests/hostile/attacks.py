"""Seeded attacks on the bound sockets of a cluster, by a stranger who can reach them.

Each attack is a function of a target, a generator and a scale (1.0: as large as the issue asks
for) and returns how much it threw, so that a test can tell an attack that never arrived.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

import msgpack
import zmq

from raftzmq.wire.client import Kind, Level, encode_batch, encode_request
from raftzmq.wire.payload import encode_statements
from raftzmq.wire.peer import PeerMessage, encode_peer
from tests.hostile import zmtp
from tests.wire.samples import PEER_MESSAGES, samples

U64: Final = (1 << 64) - 1
I63: Final = (1 << 63) - 1
FRAME: Final = b"RZQ\x01"
DISTINCT_MAX: Final = 2_000
"""Different messages of one attack on one target; a seed of its own makes others."""
ENDLESS: Final = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
)
GIGABYTES: Final = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000)"
    " SELECT zeroblob(1000000) FROM n"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A bound socket.

    Attributes:
        kind: ``peer`` or ``client`` of a node, or ``front`` of a broker.
        node: name of the node; empty for a broker.
        members: names of all nodes.
        recorded: genuine peer messages that were caught earlier.
    """

    kind: str
    address: str
    node: str
    cluster: str
    members: tuple[str, ...]
    recorded: tuple[bytes, ...] = field(default=())


Attack = Callable[[Target, random.Random, float], int]


@contextmanager
def dealer(
    target: Target, kind: int = zmq.DEALER, identity: bytes = b""
) -> Iterator[zmq.Socket[bytes]]:
    """A ZeroMQ socket connected to the target; what it has not delivered after 2 s is dropped."""
    with zmq.Context() as context, context.socket(kind) as opened:
        opened.setsockopt(zmq.LINGER, 2_000)
        opened.setsockopt(zmq.SNDTIMEO, 2_000)
        opened.setsockopt(zmq.IMMEDIATE, 1)
        if identity:
            opened.setsockopt(zmq.ROUTING_ID, identity)
        opened.connect(target.address)
        yield opened


def throw(
    sender: zmq.Socket[bytes], make: Callable[[], list[bytes]], count: int, rng: random.Random
) -> int:
    """Send ``count`` messages, or until the target takes no more; returns how many it took.

    To make one costs several times as much as to send it, and attackers get little of the
    processors here: after DISTINCT_MAX the same come again, in any order.
    """
    made: list[list[bytes]] = []
    sent = 0
    with suppress(zmq.Again):
        for _ in range(count):
            if len(made) < DISTINCT_MAX:
                frames = make()
                if count > DISTINCT_MAX:
                    made.append(frames)
            else:
                frames = rng.choice(made)
            sender.send_multipart(frames)
            sent += 1
    return sent


def enveloped(target: Target, body: bytes) -> list[bytes]:
    """``body`` where the target expects its content."""
    return [body] if target.kind == "peer" else [b"", FRAME, body]


# -- content -------------------------------------------------------------------------------


def random_bytes(target: Target, rng: random.Random, scale: float) -> int:
    """Frames of any number and content, some of them beginning well."""
    starts = [b"", FRAME, b"RZQ\x02", b"RZP\x01", b"\xff", b"\x91"]

    def frames() -> list[bytes]:
        head = [b"", FRAME] if rng.random() < 0.3 else []
        return head + [
            rng.choice(starts) + rng.randbytes(rng.choice((0, 1, 9, 300)))
            for _ in range(rng.randint(1, 6))
        ]

    with dealer(target) as sender:
        return throw(sender, frames, int(20_000 * scale) + 50, rng)


def truncated(target: Target, rng: random.Random, scale: float) -> int:
    """Each kind of message, cut at any point."""
    whole = list(samples().values())

    def cut() -> list[bytes]:
        data = rng.choice(whole)
        data = data[: rng.randrange(len(data))]
        if target.kind != "peer" and rng.random() < 0.7:
            data = encode_batch([data] * rng.randint(1, 3))
        return enveloped(target, data)

    with dealer(target) as sender:
        return throw(sender, cut, int(20_000 * scale) + 50, rng)


def deeply_nested(target: Target, rng: random.Random, scale: float) -> int:
    """Arrays in arrays, maps in maps, lengths that are only promised; at each level of content."""
    heads = [
        b"\x91",
        b"\x81\xa1a",
        b"\xdd\xff\xff\xff\xff",
        b"\xdc\xff\xff",
        b"\xdf\xff\xff\xff\xff",
    ]

    def deep() -> list[bytes]:
        data = rng.choice(heads) * rng.choice((10, 600, 5_000, 200_000))
        if target.kind == "peer":
            return [rng.choice((b"RZP\x01", b"")) + data]
        if rng.random() < 0.5:
            kind = rng.choice((Kind.READ, Kind.WRITE))
            data = encode_request(kind, level=rng.choice(tuple(Level)), payload=data)
        return [b"", FRAME, rng.choice((data, encode_batch([data])))]

    with dealer(target) as sender:
        return throw(sender, deep, int(500 * scale) + 10, rng)


def bloated(target: Target, rng: random.Random, scale: float) -> int:
    """Frames as large as may be, of tiny values: dear to decode, dear to hold."""
    size = 15 << 20
    fillings = [b"\xc0", b"\x90", b"\x91\xc0", b"\x92\xa1a\x90", b"\xa1a"]

    def fat() -> list[bytes]:
        filling = rng.choice(fillings)
        count = size // len(filling)
        data = b"\xdd" + struct.pack(">I", count) + filling * count
        if target.kind == "peer":
            return [b"RZP\x01" + data]
        kind = rng.choice((Kind.READ, Kind.WRITE))
        blob = encode_request(kind, level=rng.choice(tuple(Level)), payload=data)
        return [b"", FRAME, rng.choice((data, encode_batch([blob])))]

    with dealer(target) as sender:
        return throw(sender, fat, int(20 * scale) + 2, rng)


def wrong_versions(target: Target, rng: random.Random, scale: float) -> int:
    """Well-formed messages of every version but ours."""
    whole = samples()
    peers = [data for name, data in whole.items() if name.startswith("peer")]

    def other() -> list[bytes]:
        version = rng.choice((0, *range(2, 256)))
        if target.kind == "peer":
            return [b"RZP" + bytes([version]) + rng.choice(peers)[4:]]
        return [b"", b"RZQ" + bytes([version]), whole["client batch"]]

    with dealer(target) as sender:
        return throw(sender, other, int(20_000 * scale) + 50, rng)


def wrong_cluster(target: Target, rng: random.Random, scale: float) -> int:
    """Well-formed peer messages of another cluster, on every socket."""

    def foreign() -> list[bytes]:
        sender = rng.choice([name for name in target.members if name != target.node])
        sent = replace(rng.choice(PEER_MESSAGES), sender=sender, receiver=target.node or "n1")
        return enveloped(target, encode_peer(sent, "elsewhere", rng.getrandbits(64)))

    with dealer(target) as sender:
        return throw(sender, foreign, int(20_000 * scale) + 50, rng)


def spoofed_sender(target: Target, rng: random.Random, scale: float) -> int:
    """Every kind of peer message under a member's name, with terms and boot ids of all sizes."""
    boots = (0, 1, 1 << 32, (1 << 32) + 1, 2 << 32, I63, U64)

    def forged() -> list[bytes]:
        sender = rng.choice(target.members)
        changes: dict[str, object] = {"sender": sender, "receiver": target.node or "n1"}
        sent: PeerMessage = rng.choice(PEER_MESSAGES)
        if not hasattr(sent, "entries"):
            changes["term"] = rng.choice((0, 1, 2, 3, 5, 1_000, I63))
        sent = replace(sent, **changes)  # type: ignore[arg-type]
        boot = rng.choice((*boots, rng.getrandbits(64)))
        return enveloped(target, encode_peer(sent, target.cluster, boot))

    with dealer(target) as sender:
        return throw(sender, forged, int(50_000 * scale) + 300, rng)


def replayed(target: Target, rng: random.Random, scale: float) -> int:
    """Genuine messages that were caught earlier, again and out of order."""
    with dealer(target) as sender:
        count = int(50_000 * scale) + 300
        return throw(sender, lambda: enveloped(target, rng.choice(target.recorded)), count, rng)


# -- requests ------------------------------------------------------------------------------


def extreme_headers(target: Target, rng: random.Random, scale: float) -> int:
    """Requests with the smallest and largest number in every field."""
    numbers = (0, 1, I63, I63 + 1, U64)
    select = encode_statements([("SELECT 1", [])])

    def odd() -> list[bytes]:
        fields: list[object] = [
            rng.choice((1, 2, 2, 2, 3)),
            rng.choice((b"", b"x", rng.randbytes(64), rng.randbytes(65))),
            rng.choice((*numbers, -1)),
            rng.choice((0, 1, 2, 3, 4, -1)),
            rng.choice((*numbers, -1)),
            rng.choice((*numbers, -1)),
            rng.choice((0, 0, 1, 50, *numbers, -1)),
            rng.choice((*numbers, -1)),
            rng.choice((select, select, b"", b"x", None)),
        ]
        flags = rng.choice(([], [b""], [b"\x01"], [b"\xff"], [b"\x02" * 300]))
        return [b"", FRAME, encode_batch([bytes(msgpack.packb(fields))]), *flags]

    if target.kind == "peer":
        return random_bytes(target, rng, scale)
    with dealer(target) as sender:
        return throw(sender, odd, int(5_000 * scale) + 200, rng)


def sql_bombs(target: Target, rng: random.Random, scale: float) -> int:
    """Reads that never end or return gigabytes at each level, and SQL beyond every limit."""
    if target.kind == "peer":
        return random_bytes(target, rng, scale)
    statements: list[tuple[str, list[object]]] = [
        (ENDLESS, []),
        (GIGABYTES, []),
        ("SELECT " + "(" * 3_000 + "1" + ")" * 3_000, []),
        ("SELECT " + "+".join(["1"] * 3_000), []),
        ("SELECT " + ",".join(["?"] * 32_000), [1] * 32_000),
        (f'SELECT 1 AS "{"x" * 1_000_000}"', []),
        ("SELECT randomblob(9e18), printf('%.*c', 2000000000, 'x')", []),
    ]

    def bomb() -> list[bytes]:
        payload = encode_statements([rng.choice(statements)])
        level = rng.choice(tuple(Level))
        blob = encode_request(Kind.READ, level=level, timeout_ms=300, payload=payload)
        return [b"", FRAME, encode_batch([blob])]

    with dealer(target) as sender:
        return throw(sender, bomb, int(50 * scale) + 8, rng)


def tiny_requests(target: Target, rng: random.Random, scale: float) -> int:
    """Up to a million requests over several connections, and nobody reads the answers."""
    if target.kind == "peer":
        return random_bytes(target, rng, scale)
    select = encode_statements([("SELECT 1", [])])
    kinds = [
        encode_request(Kind.STATUS),
        encode_request(Kind.READ, payload=b"x"),
        encode_request(Kind.WRITE, payload=b"x", timeout_ms=500),
        encode_request(Kind.READ, level=Level.SESSION, min_index=I63, payload=select),
        encode_request(Kind.READ, level=Level.STALE, payload=select, timeout_ms=600_000),
    ]

    def volley() -> tuple[int, bytes]:
        if rng.random() < 0.5:
            return 1_024, zmtp.message(b"", FRAME, encode_batch(rng.choices(kinds, k=1_024)))
        chosen = rng.choices(kinds, k=200)
        return 200, b"".join(zmtp.message(b"", FRAME, encode_batch([blob])) for blob in chosen)

    made: list[tuple[int, bytes]] = []
    total = 0
    connections = [zmtp.open_zmtp(target.address) for _ in range(4)]
    try:
        for connection in connections:
            connection.settimeout(1)
        left = int(1_000_000 * scale) + 2_000
        while left > 0 and connections:
            connection = rng.choice(connections)
            if len(made) < 64:
                made.append(volley())
            count, data = rng.choice(made)
            if zmtp.send_all(connection, data) < len(data):
                connections.remove(connection)  # it takes no more: nobody reads the answers
                connection.close()
                if len(connections) < 2 and rng.random() < 0.9:
                    connections.append(zmtp.open_zmtp(target.address))
            left -= count
            total += count
    finally:
        for connection in connections:
            connection.close()
    return total


def large_answers(target: Target, rng: random.Random, scale: float) -> int:
    """Reads of megabytes, and nobody takes the rows."""
    if target.kind == "peer":
        return random_bytes(target, rng, scale)
    payload = encode_statements([("SELECT zeroblob(15000000)", [])])
    blob = encode_request(Kind.READ, level=Level.STALE, flags=1, payload=payload)
    data = zmtp.message(b"", FRAME, encode_batch([blob]))
    connection = zmtp.open_zmtp(target.address)
    sent = zmtp.send_all(connection, data * (int(200 * scale) + 10))
    time.sleep(min(3.0, 20 * scale))
    connection.close()
    return sent


# -- frames and connections ----------------------------------------------------------------


def many_frames(target: Target, rng: random.Random, scale: float) -> int:
    """Messages of a hundred thousand empty frames, or as many hops in front of the delimiter."""
    count = 100_000
    with zmtp.open_zmtp(target.address) as connection:
        sent = 0
        for _ in range(int(20 * scale) + 2):
            filling = rng.choice((b"", b"x"))
            sent += zmtp.send_all(
                connection,
                zmtp.frame(filling, zmtp.MORE) * count + zmtp.message(b"", FRAME, b"\x91\xc4\x00"),
            )
        return sent


def endless_message(target: Target, rng: random.Random, scale: float) -> int:
    """Frames of a message that never ends."""
    part = zmtp.frame(bytes(1 << 20), zmtp.MORE)
    with zmtp.open_zmtp(target.address) as connection:
        return sum(zmtp.send_all(connection, part) for _ in range(int(2_000 * scale) + 64))


def oversized(target: Target, rng: random.Random, scale: float) -> int:
    """Frames beyond every bound: announced, begun, and sent whole."""
    sent = 0
    for size in (1 << 62, (1 << 64) - 1, (24 << 20) + 1, 1 << 31, 1 << 32):
        with zmtp.open_zmtp(target.address) as connection:
            head = bytes([rng.choice((2, 3))]) + struct.pack(">Q", size)
            sent += zmtp.send_all(connection, head + bytes(min(size, 25 << 20)))
    return sent


def half_greetings(target: Target, rng: random.Random, scale: float) -> int:
    """Connections that say half of what they are, or nothing, and stay."""
    whole = zmtp.greeting() + zmtp.ready()
    opened = []
    with suppress(OSError):
        for _ in range(int(500 * scale) + 20):
            connection = zmtp.open_tcp(target.address)
            opened.append(connection)
            zmtp.send_all(connection, whole[: rng.randrange(len(whole))])
    time.sleep(min(4.0, 20 * scale))
    for connection in opened:
        connection.close()
    return len(opened)


def slow_loris(target: Target, rng: random.Random, scale: float) -> int:
    """Many connections, each a byte at a time."""
    whole = zmtp.greeting() + zmtp.ready() + zmtp.message(b"", FRAME, bytes(200))
    opened: list[socket.socket] = []
    with suppress(OSError):
        for _ in range(int(500 * scale) + 20):
            opened.append(zmtp.open_tcp(target.address))
    for at in range(int(50 * scale) + 10):
        for connection in opened:
            zmtp.send_all(connection, whole[at : at + 1])
        time.sleep(0.02)
    for connection in opened:
        connection.close()
    return len(opened)


def raw_noise(target: Target, rng: random.Random, scale: float) -> int:
    """Bytes that are no ZMTP, from the first on or after the greeting."""
    sent = 0
    for _ in range(int(300 * scale) + 10):
        head = rng.choice(
            (b"", zmtp.greeting(), zmtp.greeting() + zmtp.ready(), b"GET / HTTP/1.1\r\n")
        )
        with zmtp.open_tcp(target.address) as connection:
            sent += zmtp.send_all(connection, head + rng.randbytes(rng.choice((1, 64, 5_000))))
    return sent


def hostile_commands(target: Target, rng: random.Random, scale: float) -> int:
    """Commands of the protocol where none belongs, unknown ones, and too long ones."""
    commands = [
        zmtp.command(b"PING", b"\xff\xff" + b"x" * 17),
        zmtp.command(b"PING", b"\0\1"),
        zmtp.command(b"PONG", b"x" * 3_000),
        zmtp.command(b"ERROR", b"\xff"),
        zmtp.command(b"SUBSCRIBE", b""),
        zmtp.command(b"CANCEL", b"x" * 100),
        zmtp.command(b"HELLO", bytes(194)),
        zmtp.command(b"", b""),
        zmtp.command(b"x" * 255, b""),
        zmtp.frame(b"\xffREADY", zmtp.COMMAND),
        zmtp.frame(b"", zmtp.COMMAND | zmtp.MORE),
        zmtp.ready(b"ROUTER"),
        bytes([0xFF, 0xFF]) + bytes(300),
    ]
    sent = 0
    for _ in range(int(300 * scale) + 15):
        head = rng.choice((zmtp.greeting(minor=1), zmtp.greeting() + zmtp.ready()))
        with zmtp.open_tcp(target.address) as connection:
            sent += zmtp.send_all(connection, head + b"".join(rng.choices(commands, k=3)))
            with suppress(*zmtp.CLOSED):
                connection.recv(4_096)
    return sent


def stolen_identities(target: Target, rng: random.Random, scale: float) -> int:
    """Routing ids of nodes, brokers, workers and live clients, each claimed twice."""
    names = [each.encode() for each in target.members]
    names += [b"proxy", b"fast-0", b"slow-0", b"status", b"observe!", b"x" * 255]
    names += [b"\0" + struct.pack(">I", rng.getrandbits(32)) for _ in range(int(200 * scale) + 5)]
    data = zmtp.message(*enveloped(target, encode_batch([encode_request(Kind.STATUS)])))
    opened = [zmtp.open_zmtp(target.address, identity=name) for name in (*names, *names)]
    sent = sum(zmtp.send_all(connection, data * 3) for connection in opened)
    for connection in opened:
        connection.close()
    return sent


def other_socket_types(target: Target, rng: random.Random, scale: float) -> int:
    """Sockets that do not fit a ROUTER, and some that do."""
    sent = 0
    for kind in (
        b"SUB",
        b"XSUB",
        b"PUB",
        b"PUSH",
        b"PULL",
        b"PAIR",
        b"REP",
        b"REQ",
        b"ROUTER",
        b"",
    ):
        with zmtp.open_zmtp(target.address, socket_type=kind) as connection:
            sent += zmtp.send_all(connection, zmtp.message(b"", FRAME, b"\x91\xc4\x00") * 5)
            sent += zmtp.send_all(connection, zmtp.message(b"\x01" + rng.randbytes(20)))
    return sent


def curve_handshakes(target: Target, rng: random.Random, scale: float) -> int:
    """CURVE and PLAIN clients at a server that does not speak them."""
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context:
        for _ in range(int(20 * scale) + 2):
            with context.socket(zmq.DEALER) as client:
                client.setsockopt(zmq.LINGER, 0)
                # Once the server has refused it, the socket has no connection ever again.
                client.setsockopt(zmq.SNDTIMEO, 100)
                client.curve_publickey, client.curve_secretkey = public, secret
                client.curve_serverkey = public
                client.connect(target.address)
                with suppress(zmq.Again):
                    client.send(b"x")
                client.poll(20)
    with zmtp.open_tcp(target.address) as connection:
        zmtp.send_all(connection, zmtp.greeting(b"PLAIN") + zmtp.command(b"HELLO", b"\1a\1b"))
    return int(20 * scale) + 3


def churn(target: Target, rng: random.Random, scale: float) -> int:
    """Connections that come and go at once."""
    count = int(3_000 * scale) + 50
    for _ in range(0, count, 50):
        opened = [zmtp.open_tcp(target.address) for _ in range(50)]
        for connection in opened:
            zmtp.send_all(connection, zmtp.greeting() + zmtp.ready())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    return count


ATTACKS: Final[dict[str, Attack]] = {
    each.__name__: each
    for each in (
        random_bytes, truncated, deeply_nested, bloated, wrong_versions, wrong_cluster,
        spoofed_sender, replayed, extreme_headers, sql_bombs, tiny_requests, large_answers,
        many_frames, endless_message, oversized, half_greetings, slow_loris, raw_noise,
        hostile_commands, stolen_identities, other_socket_types, curve_handshakes, churn,
    )
}  # fmt: skip
