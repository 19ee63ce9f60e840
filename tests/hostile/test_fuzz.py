"""Any bytes into what takes them, in process: never an exception, always counted or answered."""

from __future__ import annotations

import itertools
import random
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, cast

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftzmq import limits
from raftzmq.broker.routing import OBSERVE_BATCH, STATUS_PUSH, Router
from raftzmq.errors import MalformedRequest, TooLarge, UnsupportedVersion
from raftzmq.invariants import InvariantBroken
from raftzmq.node.conditions import Conditions
from raftzmq.node.queries import Queries
from raftzmq.node.service import ClientService
from raftzmq.node.workers import WorkerPool
from raftzmq.raft.messages import HeartbeatRequest
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import Request
from raftzmq.statemachine.statements import decode_payload
from raftzmq.wire.client import Kind, Level, decode_batch, decode_reply
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.peer import PeerMessage, decode_peer, encode_peer
from raftzmq.wire.version import CLIENT_FRAME
from tests.hostile.lone_replica import BOOTS, Node
from tests.statemachine.world import World, anonymous, entry
from tests.wire.samples import PEER_MESSAGES, samples
from tests.wire.test_fuzz import mutated, values

U64 = (1 << 64) - 1
numbers = st.sampled_from((0, 1, 2, 5, 1 << 31, (1 << 63) - 1, 1 << 63, U64)) | st.integers(0, U64)
blobs = st.binary(max_size=60) | values.map(lambda value: bytes(msgpack.packb(value))) | mutated()


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request with any number in each field, sometimes of a wrong type."""
    parts: list[Any] = [
        draw(st.sampled_from([*map(int, Kind), 0, 99])),
        draw(st.binary(max_size=65)),
        draw(numbers),
        draw(st.sampled_from([*map(int, Level), 9])),
        *(draw(numbers) for _ in range(4)),
        draw(st.binary(max_size=20)),
    ]
    if draw(st.integers(0, 9)) == 0:
        parts[draw(st.integers(0, 8))] = draw(values)
    return bytes(msgpack.packb(parts))


batches = st.lists(requests() | blobs, min_size=0, max_size=5).map(
    lambda found: bytes(msgpack.packb(found))
)


@st.composite
def peer_messages(draw: st.DrawFn) -> PeerMessage:
    """A message of any kind from any name, with any number in each field."""
    message = draw(st.sampled_from(PEER_MESSAGES))
    changes: dict[str, Any] = {"receiver": "n1", "sender": draw(st.sampled_from(sorted(BOOTS)))}
    for each in fields(message):
        if str(each.type) == "int" and not hasattr(message, "entries"):
            changes[each.name] = draw(numbers)
    return replace(message, **changes)


# -- peers -----------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.lists(blobs | blobs.map(lambda data: b"RZP\x01" + data), min_size=1, max_size=20))
def test_replica_takes_any_frame(frames: list[bytes]) -> None:
    node = Node()
    for frame in frames:
        node.replica.receive(frame)
    node.replica.flush()
    answered = len(node.sent)
    assert sum(node.replica.dropped.values()) + answered >= len(frames)
    assert node.replica.raft.term == 0


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(peer_messages(), numbers), min_size=1, max_size=20))
def test_replica_takes_any_message_of_a_stranger(thrown: list[tuple[PeerMessage, int]]) -> None:
    node = Node()
    node.believe("n2", BOOTS["n2"])
    for message, boot in thrown:
        frame = encode_peer(message, "orders", boot if boot not in BOOTS.values() else 0)
        node.replica.receive(frame)
        node.replica.tick()
    assert node.replica.raft.term <= 1, "own candidacy at most"
    node.sent.clear()
    term = node.replica.raft.term + 1
    node.hear(replace(HEARTBEAT, term=term), BOOTS["n2"])
    assert node.replica.raft.leader == "n2", "the real peer is still heard"


HEARTBEAT = HeartbeatRequest(sender="n2", receiver="n1", term=1, commit_index=0, round=0)


@settings(max_examples=300, deadline=None)
@given(st.lists(peer_messages(), min_size=1, max_size=8))
def test_a_believed_member_that_lies_breaks_an_invariant_at_worst(lies: list[PeerMessage]) -> None:
    """Stopping is then right: either this node or that one has lost what it had promised."""
    node = Node()
    for peer in ("n2", "n3"):
        node.believe(peer, BOOTS[peer])
    try:
        for lie in lies:
            if type(lie).__name__.startswith("Snapshot"):
                continue  # their host is not there
            try:
                frame = encode_peer(lie, "orders", BOOTS[lie.sender])
            except OverflowError:
                continue
            node.replica.receive(frame)
            node.replica.flush()
    except InvariantBroken:
        return


def test_a_bloated_frame_is_refused_by_its_head() -> None:
    """Ten million values would hold the interpreter for a quarter of a second."""
    filling = b"RZP\x01\xdd" + (10_000_000).to_bytes(4, "big") + b"\xc0" * 10_000_000
    with pytest.raises(DecodeError, match="an array of 10000000"):
        decode_peer(filling)


# -- clients of a node -----------------------------------------------------------------------


class Nobody:
    """Stands for the socket to the workers, and for a status."""

    def __init__(self) -> None:
        self.jobs: list[list[bytes]] = []

    def send_multipart(self, frames: list[bytes]) -> None:
        self.jobs.append(frames)


def service(answers: list[tuple[list[bytes], bytes]]) -> ClientService:
    router = cast(Any, Nobody())
    numbers = itertools.count(1)
    pools = [WorkerPool([name], router, {}, {}, numbers) for name in (b"fast", b"slow")]
    queries = Queries(
        node="n1",
        boot=BOOTS["n1"],
        pools=pools,
        doing=lambda: None,
        snapshot=lambda: False,
        log=lambda line: None,
    )
    return ClientService(
        replica=Node().replica,
        conditions=Conditions(),
        fast=pools[0],
        slow=pools[1],
        queries=queries,
        send=lambda envelope, frame: answers.append((envelope, frame)),
        client_addresses={name: f"tcp://{name}" for name in BOOTS},
        status=lambda: b"\x80",
        observe=lambda envelope: None,
        pending_max=40,
        apply_limits=ApplyLimits(),
        rng=random.Random(0),
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from((b"a", b"b")), batches | blobs, st.integers(0, 255)),
        min_size=1,
        max_size=12,
    )
)
def test_service_answers_any_frame_once(thrown: list[tuple[bytes, bytes, int]]) -> None:
    answers: list[tuple[list[bytes], bytes]] = []
    serving = service(answers)
    for at, (client, frame, flags) in enumerate(thrown):
        serving.receive([client, str(at).encode()], frame, flags, now_ms=at)
        serving.end_of_round(1_000)
    serving.refuse([b"a", b"last"], UnsupportedVersion("another"))
    serving.expire(1 << 62)
    assert sorted(envelope[1] for envelope, _ in answers) == sorted(
        [*(str(at).encode() for at in range(len(thrown))), b"last"]
    )
    for _, frame in answers:
        for blob in decode_batch(frame):
            decode_reply(blob)
    assert serving.counters.other_version == 1


def test_answered_messages_do_not_stay_until_their_deadline() -> None:
    """Ten thousand requests with the longest deadline there is, all answered at once."""
    serving = service([])
    blob = bytes(msgpack.packb([int(Kind.STATUS), b"", 1, 0, 0, 0, 600_000, 0, b""]))
    for _ in range(10_000):
        serving.receive([b"a"], bytes(msgpack.packb([blob])), 0, now_ms=0)
    assert len(serving._deadlines) < 2_000


def test_one_client_cannot_hold_all_the_room_of_a_node() -> None:
    answers: list[tuple[list[bytes], bytes]] = []
    serving = service(answers)
    waits = [int(Kind.READ), b"", 1, int(Level.SESSION), 1 << 60, 0, 600_000, 0, b""]
    frame = bytes(msgpack.packb([bytes(msgpack.packb(waits))]))
    for _ in range(100):
        serving.receive([b"hog"], frame, 0, now_ms=0)
    answers.clear()
    serving.receive([b"other"], frame, 0, now_ms=0)
    assert answers == [], "held, not refused"
    assert serving.counters.overloaded == 100 - 21


# -- the broker ------------------------------------------------------------------------------

frames_of_any_kind = st.lists(
    st.sampled_from(
        (b"", CLIENT_FRAME, b"RZQ\x02", STATUS_PUSH, OBSERVE_BATCH, (1).to_bytes(8, "big"))
    )
    | batches
    | blobs,
    max_size=6,
)
whole = st.tuples(st.just(b""), st.just(CLIENT_FRAME), batches).map(list)
answers_of_nodes = st.tuples(
    st.sampled_from((STATUS_PUSH, OBSERVE_BATCH, (1).to_bytes(8, "big"), (2).to_bytes(8, "big"))),
    st.just(b""),
    st.just(CLIENT_FRAME),
    batches | st.sampled_from(sorted(samples().values())),
).map(list)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), frames_of_any_kind | whole | answers_of_nodes), max_size=20)
)
def test_broker_takes_any_message_of_clients_and_nodes(
    thrown: list[tuple[bool, list[bytes]]],
) -> None:
    router = Router({name: f"tcp://{name}" for name in BOOTS})
    replies = 0
    for now_ms, (of_client, frames) in enumerate(thrown):
        if of_client:
            router.from_client(b"client", frames, now_ms)
        else:
            router.from_node("n1", frames, now_ms)
        router.take_batches(now_ms)
        router.tick(now_ms)
        replies += len(router.take_replies())
    counted = sum(n for name, n in asdict(router.counters).items() if name.startswith("dropped"))
    router.tick(1 << 40)
    router.shut_down()
    answered = router.counters.replies
    assert counted + answered + router.counters.requests >= len(
        [frames for of_client, frames in thrown if of_client]
    )
    held = cast(dict[str, int], router.status(0)["broker"])
    assert (held["held_requests"], held["held_bytes"]) == (0, 0)


# -- what every replica applies --------------------------------------------------------------


def test_no_write_is_poison(tmp_path: Path) -> None:
    """What one replica cannot apply, none can: such a write would end the whole cluster."""
    world = World(tmp_path)
    world.ok("CREATE TABLE t(a)")
    statement = st.tuples(
        st.text(max_size=10) | st.sampled_from(("INSERT INTO t VALUES(?)", "SELECT ?", "END", ";")),
        st.none() | st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values),
    )
    payloads = blobs | st.lists(statement, max_size=3).map(
        lambda found: bytes(msgpack.packb(found))
    )

    @settings(max_examples=400, deadline=None)
    @given(st.binary(max_size=64), numbers, numbers, payloads)
    def check(client: bytes, sequence: int, since: int, payload: bytes) -> None:
        thrown = Request(client, sequence, since, payload)
        [result] = world.machine.apply([entry(world.next_index, thrown, anonymous("SELECT 1"))])
        assert len(result.replies) == 2
        assert result.replies[1].code == 0

    check()
    world.ok("INSERT INTO t VALUES(1)")


@pytest.mark.parametrize("filling", [b"\xc0", b"\x90", b"\x91\xc0", b"\x80", b"\x92\xa1a\x90"])
def test_a_bloated_payload_is_refused_before_it_is_whole(filling: bytes) -> None:
    count = (8 << 20) // len(filling)
    data = b"\xdd" + count.to_bytes(4, "big") + filling * count
    with pytest.raises((MalformedRequest, TooLarge)):
        decode_payload(data, limits.STATEMENTS_MAX)
    rows = b"\xdc" + (64).to_bytes(2, "big")
    row = b"\x92\xa1a" + b"\xdc\xff\xff" + b"\xc0" * 0xFFFF
    with pytest.raises(TooLarge, match="REQUEST_VALUES_MAX"):
        decode_payload(rows + row * 64, limits.STATEMENTS_MAX)
