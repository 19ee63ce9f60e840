"""What is fuzzed: for each target how an input is made from a seed, and what must hold for it.

An input is a list of steps of plain JSON values (bytes as hex), so that one that fails can be
written to a file, read by people, cut down by hand and played again without its seed.
``play`` raises whatever a bug raises; returning means that every promise was kept.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgpack

from raftzmq.broker.routing import OBSERVE_BATCH, STATUS_PUSH, Router
from raftzmq.config import ClusterConfig, load, parse, to_toml
from raftzmq.errors import ConfigError, RequestError
from raftzmq.invariants import InvariantBroken
from raftzmq.raft.messages import AppendRequest, PreVoteResponse, VoteResponse
from raftzmq.raft.raft import Raft
from raftzmq.raft.types import Entry, EntryKind, Role
from raftzmq.statemachine.statements import decode_payload
from raftzmq.wire.client import decode_batch, decode_reply, decode_request, encode_batch
from raftzmq.wire.client import encode_reply as reply_blob
from raftzmq.wire.peer import encode_peer
from raftzmq.wire.version import CLIENT_FRAME
from tests.hostile.fuzz.mutate import (
    NUMBERS,
    PEER_PREFIX_BYTES,
    U64,
    golden,
    spoil_bytes,
    spoil_text,
    spoil_tree,
)
from tests.hostile.lone_replica import BOOTS, Node
from tests.hostile.memory_snapshots import MemorySnapshots
from tests.hostile.test_fuzz import service
from tests.wire.samples import PEER_MESSAGES
from tests.wire.test_fuzz import survives

Step = list[Any]
Input = list[Step]
ROOT: Final = Path(__file__).parents[3]


class Target(NamedTuple):
    """One thing that takes what strangers send."""

    make: Callable[[random.Random], Input]
    play: Callable[[Input], None]


# -- peers: bytes -> decoders -> replica ----------------------------------------------------------

_PEER_FRAMES: Final = golden("peer")


def make_peer(rng: random.Random) -> Input:
    """Frames at a replica that believes its peers (or none), time passing between them."""
    believed = [name for name in ("n2", "n3") if rng.random() < 0.95]
    steps: Input = [["believe", *believed]]
    for _ in range(rng.randint(1, 25)):
        what = rng.random()
        if what < 0.2:
            steps.append(["tick", rng.choice((1, 1, 3, 10, 60))])
        elif what < 0.25:
            steps.append(["propose"])
        elif what < 0.35:
            steps.append(["elect"])
        elif what < 0.7:
            steps.append(["say", *_said(rng)])
        else:
            steps.append(["frame", _peer_frame(rng).hex()])
    return steps


def _said(rng: random.Random) -> list[Any]:
    """[kind, sender, term, numbers]: terms and indexes count from the replica's own."""
    message = rng.choice(PEER_MESSAGES)
    numbers: dict[str, int] = {}
    for each in fields(message):
        if str(each.type) in ("int", "bool") and each.name != "term":
            near = rng.choice((0, 0, 0, -1, 1, -2, 2, 5))
            numbers[each.name] = near if rng.random() < 0.9 else rng.choice(NUMBERS)
    return [
        type(message).__name__,
        rng.choice(("n2", "n3")),
        rng.choice((0, 0, 0, 0, 1, -1, 2)),
        numbers,
        [rng.choice((0, 0, 1)) for _ in range(rng.randrange(4))],
    ]


def _peer_frame(rng: random.Random) -> bytes:
    what = rng.random()
    if what < 0.1:
        return rng.randbytes(rng.randrange(80))
    if what < 0.2:
        return spoil_bytes(rng, rng.choice(_PEER_FRAMES), _PEER_FRAMES)
    # Mostly what a member could say: small numbers, so that terms and indexes meet.
    message = rng.choice(PEER_MESSAGES)
    changes: dict[str, Any] = {"receiver": "n1", "sender": rng.choice(("n2", "n3"))}
    for each in fields(message):
        if str(each.type) == "int" and rng.random() < 0.9:
            changes[each.name] = rng.choice((0, 1, 2, 3, 5, 8, *NUMBERS))
        elif str(each.type) == "bool":
            changes[each.name] = rng.random() < 0.5
    changed = replace(message, **changes)
    boot = BOOTS[changed.sender] if rng.random() < 0.9 else rng.choice(NUMBERS)
    try:
        frame = encode_peer(changed, "orders", boot)
    except OverflowError:
        frame = rng.choice(_PEER_FRAMES)
    if what < 0.5:
        return spoil_tree(rng, frame, PEER_PREFIX_BYTES)
    return frame


def play_peer(steps: Input) -> None:
    """A believed member that lies breaks an invariant at worst; a stranger moves nothing."""
    node = Node(MemorySnapshots())
    believed = [str(name) for name in steps[0][1:]]
    for name in believed:
        node.believe(name, BOOTS[name])
    replica = node.replica
    try:
        for kind, *rest in steps[1:]:
            if kind == "tick":
                for _ in range(int(rest[0])):
                    replica.tick()
            elif kind == "propose":
                replica.raft.propose(b"x")
            elif kind == "elect":
                _elect(node)
            elif kind == "say":
                frame = _frame_said(replica.raft, *rest)
                if frame is not None:
                    replica.receive(frame)
            else:
                data = bytes.fromhex(rest[0])
                survives(data)
                dropped = sum(replica.dropped.values())
                term = replica.raft.term
                replica.receive(data)
                if sum(replica.dropped.values()) > dropped:
                    assert replica.raft.term == term, "what is dropped changes nothing"
            replica.flush()
    except InvariantBroken:
        assert believed, "a stranger breaks no invariant"


def _frame_said(
    raft: Raft, kind: str, sender: str, term: int, numbers: dict[str, int], terms: list[int]
) -> bytes | None:
    """What a member would say that knows this node's term and log; None: it cannot be said."""
    [message] = [each for each in PEER_MESSAGES if type(each).__name__ == kind]
    last = raft.last_position
    changes: dict[str, Any] = {"sender": sender, "receiver": "n1", "term": max(0, raft.term + term)}
    for name, number in numbers.items():
        if isinstance(getattr(message, name), bool):
            changes[name] = bool(number % 2)
        else:
            own = last.index if "index" in name else last.term if "term" in name else 0
            changes[name] = max(0, own + number)
    if isinstance(message, AppendRequest):
        entry_term = changes["prev_term"]
        entries = []
        for index, more in enumerate(terms, changes["prev_index"] + 1):
            entry_term = min(changes["term"], entry_term + more)
            entries.append(Entry(index, entry_term, EntryKind.COMMAND, b"x"))
        changes["entries"] = tuple(entries)
    try:
        return encode_peer(replace(message, **changes), "orders", BOOTS[sender])
    except OverflowError:
        return None


def _elect(node: Node) -> None:
    """Let the replica campaign, with n2's votes."""
    replica = node.replica
    for _ in range(200):
        replica.tick()
        replica.flush()
        if replica.raft.role is not Role.FOLLOWER:
            break
    term = replica.raft.term
    for answer in (PreVoteResponse, VoteResponse):
        node.hear(answer(sender="n2", receiver="n1", term=term + 1, granted=True), BOOTS["n2"])
        replica.flush()


# -- clients: bytes -> decoders -> the service of a node ------------------------------------------

_CLIENT_FRAMES: Final = [
    *golden("client"),
    *(encode_batch([blob]) for blob in golden("client")),
]
_PAYLOADS: Final = golden("payload")


def make_client(rng: random.Random) -> Input:
    """Frames of a few clients at one node."""
    steps: Input = []
    for at in range(rng.randint(1, 15)):
        frame = _client_frame(rng)
        flags = rng.choice((0, 0, rng.randrange(256)))
        steps.append(["frame", rng.choice("ab"), frame.hex(), flags, at * rng.choice((1, 1000))])
    return steps


def _client_frame(rng: random.Random) -> bytes:
    what = rng.random()
    if what < 0.1:
        return rng.randbytes(rng.randrange(80))
    if what < 0.3:
        return spoil_bytes(rng, rng.choice(_CLIENT_FRAMES), _CLIENT_FRAMES)
    blobs = []
    for _ in range(rng.choice((1, 1, 2, 5))):
        blob = rng.choice(_REQUESTS)
        if rng.random() < 0.3:
            blob = spoil_bytes(rng, blob, _CLIENT_FRAMES)
        elif rng.random() < 0.8:
            blob = spoil_tree(rng, blob)
        blobs.append(blob)
    frame = encode_batch(blobs)
    return spoil_tree(rng, frame) if rng.random() < 0.2 else frame


def _requests() -> list[bytes]:
    """The golden request with every kind and level, and the payloads inside."""
    [request] = [data for data in golden("client") if data[:1] == b"\x99"]
    parts = msgpack.unpackb(request)
    found = []
    for kind in range(1, 12):
        for level in range(5):
            for payload in (b"payload", *_PAYLOADS):
                found.append(bytes(msgpack.packb([kind, *parts[1:3], level, *parts[4:8], payload])))
    return found


_REQUESTS: Final = _requests()


def play_client(steps: Input) -> None:
    """Every frame is answered exactly once, with what is an answer."""
    answers: list[tuple[list[bytes], bytes]] = []
    serving = service(answers)
    for at, (_, client, frame, flags, now_ms) in enumerate(steps):
        data = bytes.fromhex(frame)
        survives(data)
        with contextlib.suppress(RequestError):
            decode_payload(data, 64)
        serving.receive([client.encode(), str(at).encode()], data, flags, now_ms=now_ms)
        serving.end_of_round(1_000)
    serving.expire(1 << 62)
    asked = sorted(str(at).encode() for at in range(len(steps)))
    assert sorted(envelope[1] for envelope, _ in answers) == asked, "one answer for each"
    for _, frame in answers:
        for blob in decode_batch(frame):
            decode_reply(blob)


# -- the broker: clients on one side, nodes on the other -----------------------------------------

_BODIES: Final = golden("body")
_STATUS: Final = golden("body status")


def make_broker(rng: random.Random) -> Input:
    """Messages of clients, and of nodes that answer what they were asked, rightly or not."""
    steps: Input = []
    for _ in range(rng.randint(1, 30)):
        what = rng.random()
        if what < 0.4:
            asked = [rng.choice(_REQUESTS) for _ in range(rng.randint(1, 4))]
            frame = encode_batch(asked) if rng.random() < 0.6 else _client_frame(rng)
            frames = [b"", CLIENT_FRAME, frame]
            steps.append(["client", rng.choice("ab"), _envelope(rng, frames)])
        elif what < 0.55:
            head = rng.choice((STATUS_PUSH, STATUS_PUSH, OBSERVE_BATCH, (1).to_bytes(8, "big")))
            body = rng.choice(_STATUS)
            if rng.random() < 0.5:
                body = spoil_tree(rng, body)
            blob = reply_blob(b"", 0, rng.choice((0, 0, 11, U64)), 1, body, "n1")
            frames = [head, b"", CLIENT_FRAME, encode_batch([blob])]
            steps.append(["node", rng.choice(("n1", "n1", "n2")), _envelope(rng, frames)])
        elif what < 0.85:
            code = rng.choice((0, 0, 10, 11, 12, 13, 14, 15, 16, 17, 19, 30, 31, 50, 51, 99, U64))
            body = spoil_tree(rng, rng.choice((*_BODIES, *_PAYLOADS)))
            steps.append(["answer", rng.randrange(4), code, body.hex(), rng.choice((0, 0, 0, 1))])
        elif what < 0.9:
            steps.append(["lost", rng.choice(sorted(BOOTS))])
        else:
            steps.append(["wait", rng.choice((1, 50, 1_000, 60_000))])
    return steps


def _envelope(rng: random.Random, frames: list[bytes]) -> list[str]:
    if rng.random() < 0.1:
        frames.insert(rng.randint(0, len(frames)), rng.randbytes(rng.randrange(9)))
    if rng.random() < 0.1:
        del frames[rng.randrange(len(frames))]
    if rng.random() < 0.1 and frames:
        at = rng.randrange(len(frames))
        frames[at] = spoil_bytes(rng, frames[at], _CLIENT_FRAMES)
    return [frame.hex() for frame in frames]


def play_broker(steps: Input) -> None:
    """Every client message is answered or counted, and in the end nothing is held."""
    router = Router({name: f"tcp://{name}" for name in BOOTS}, requests_max=40)
    flying: list[tuple[str, bytes, bytes]] = []
    now_ms = asked = 0
    for kind, *rest in steps:
        now_ms += 1
        if kind == "client":
            asked += 1
            frames = [bytes.fromhex(frame) for frame in rest[1]]
            router.from_client(rest[0].encode(), frames, now_ms)
        elif kind == "node":
            router.from_node(rest[0], [bytes.fromhex(frame) for frame in rest[1]], now_ms)
        elif kind == "answer" and flying:
            node, batch_id, batch = flying.pop(rest[0] % len(flying))
            router.from_node(node, _answer(batch_id, batch, rest), now_ms)
        elif kind == "lost":
            router.node_lost(rest[0], now_ms)
        elif kind == "wait":
            now_ms += int(rest[0])
        for outgoing in router.take_batches(now_ms):
            flying.append((outgoing.node, outgoing.batch_id, outgoing.frames[3]))
        router.tick(now_ms)
        for _, reply in router.take_replies():
            for blob in decode_batch(reply[-1]):
                decode_reply(blob)
    router.tick(1 << 40)
    router.shut_down()
    counted = sum(n for name, n in asdict(router.counters).items() if name.startswith("dropped"))
    assert counted + router.counters.replies + router.counters.requests >= asked
    held = cast(dict[str, int], router.status(0)["broker"])
    assert (held["held_requests"], held["held_bytes"]) == (0, 0), "nothing is held in the end"


def _answer(batch_id: bytes, batch: bytes, told: list[Any]) -> list[bytes]:
    """What a node answers to a batch: for each request one reply with this code and body."""
    _, code, body, missing = told
    blobs = []
    for blob in decode_batch(batch):
        request = decode_request(blob)
        blobs.append(
            reply_blob(request.client, request.sequence, code, 1, bytes.fromhex(body), "n1")
        )
    blobs = blobs[missing:]
    return [batch_id, b"", CLIENT_FRAME, encode_batch(blobs) if blobs else b"\x90"]


# -- nodes.toml ----------------------------------------------------------------------------------

_SHIPPED: Final = (ROOT / "config" / "nodes.toml").read_text()
_SMALL: Final = (
    '[cluster]\nid = "c"\n[nodes.n1]\npeer = "tcp://127.0.0.1:1"\nclient = "tcp://h:2"\n'
    'data = "/tmp/a"\n[proxies.p]\naddress = "ipc:///tmp/p"\n[limits]\ntick_ms = 20\n'
)
_PIECES: Final = (
    *("", "0", "-1", "true", "nan", "1e400", "1979-05-27", "0x" + "f" * 6_000, "9" * 5_000),
    *('""', '"~"', '"~nobody-of-this-name/x"', '"a\\u0000b"', '"/a/../b"', "'''", '"""', "[1, 2]"),
    *("{a = 1}", "{" * 50, "[" * 3_000, "a." * 500, "[[nodes]]", "[nodes]", '[nodes."x.y"]'),
    *('"tcp://[::1]:5"', '"tcp://*:5"', '"ipc://"', '"tcp://h:99999"', '"tcp://h:0"', "\\", "#"),
    *("[limits]", "[cluster]", "election_ticks = 3", "\r", "\t", "=", "ü", "\ufeff", "\x7f"),
    f'"{"x" * 5_000}"',
)


def make_config(rng: random.Random) -> Input:
    """A text, mostly a valid nodes.toml spoilt; now and then bytes that are no text."""
    what = rng.random()
    if what < 0.1:
        return [["bytes", rng.randbytes(rng.randrange(200)).hex()]]
    if what < 0.2:
        return [["text", "".join(rng.choice(_PIECES) + "\n" for _ in range(rng.randrange(6)))]]
    return [["text", spoil_text(rng, rng.choice((_SHIPPED, _SMALL)), list(_PIECES))]]


def _loaded(data: bytes) -> ClusterConfig:
    """Read through a file, which need not even hold text."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        return replace(load(Path(file.name)), source=None)


def play_config(steps: Input) -> None:
    """A config, or a ConfigError that people can read; and a config is written as it was read."""
    for kind, content in steps:
        try:
            config = _loaded(bytes.fromhex(content)) if kind == "bytes" else parse(content)
        except ConfigError as error:
            told = str(error)
        else:
            told = ""
            assert parse(to_toml(config)) == config, "what is written is read back the same"
        assert len(told) < 2_000, "an error that can be read"


TARGETS: Final[dict[str, Target]] = {
    "peer": Target(make_peer, play_peer),
    "client": Target(make_client, play_client),
    "broker": Target(make_broker, play_broker),
    "config": Target(make_config, play_config),
}
