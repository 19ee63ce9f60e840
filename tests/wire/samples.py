"""One message of each kind, with values that need every byte their fields can have."""

from __future__ import annotations

from typing import Final

from raftzmq.raft.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    PreVoteRequest,
    PreVoteResponse,
    ProofRequest,
    ProofResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftzmq.raft.types import Entry, EntryKind
from raftzmq.wire.client import Flags, Kind, Level, encode_batch, encode_reply, encode_request
from raftzmq.wire.equality import (
    ChecksumReport,
    ChecksumRequest,
    ChecksumVerdict,
    RebuildRequest,
)
from raftzmq.wire.greeting import Challenge, Hello, Welcome
from raftzmq.wire.payload import encode_error, encode_results, encode_statements
from raftzmq.wire.peer import PeerMessage, encode_peer
from raftzmq.wire.queries import QueryList, RunningQuery, encode_queries
from raftzmq.wire.status import NodeStatus, PeerStatus, encode_status
from raftzmq.wire.transfer import SnapshotChunk, SnapshotDone, SnapshotOffer, SnapshotPull
from raftzmq.wire.verify import NodeFinding, encode_comparison, encode_verify

U64: Final = (1 << 64) - 1
I63: Final = (1 << 63) - 1
CLUSTER: Final = "orders"
BOOT: Final = U64

_ENTRIES: Final = (
    Entry(8, 2, EntryKind.NOOP, b""),
    Entry(9, 2, EntryKind.COMMAND, b"\x00\xffcommand"),
    Entry(10, 3, EntryKind.CONFIGURATION, b"\x93"),
)

PEER_MESSAGES: Final[tuple[PeerMessage, ...]] = (
    PreVoteRequest(sender="n1", receiver="n2", term=4, last_index=10, last_term=3),
    PreVoteResponse(sender="n2", receiver="n1", term=4, granted=True),
    VoteRequest(sender="n1", receiver="n2", term=I63, last_index=I63, last_term=3, transfer=True),
    VoteResponse(sender="n2", receiver="n1", term=4, granted=False),
    AppendRequest(
        sender="n1",
        receiver="n2",
        term=3,
        prev_index=7,
        prev_term=1,
        commit_index=6,
        entries=_ENTRIES,
    ),
    AppendResponse(
        sender="n2",
        receiver="n1",
        term=3,
        accepted=False,
        match_index=0,
        rejected_index=7,
        hint_index=5,
        hint_term=1,
        binding=True,
    ),
    HeartbeatRequest(sender="n1", receiver="n2", term=3, commit_index=9, round=U64),
    HeartbeatResponse(sender="n2", receiver="n1", term=3, round=U64, binding=False),
    ReadIndexRequest(sender="n2", receiver="n1", term=3, context=U64),
    ReadIndexResponse(sender="n1", receiver="n2", term=3, context=U64, index=9),
    TimeoutNow(sender="n1", receiver="n2", term=3),
    ProofRequest(sender="n2", receiver="n1", term=3, context=U64),
    ProofResponse(sender="n1", receiver="n2", term=3, context=U64, index=9),
    SnapshotOffer(
        sender="n1",
        receiver="n2",
        term=3,
        transfer=U64,
        index=9,
        snapshot_term=2,
        size=1 << 40,
        digest=bytes(range(32)),
        voters=("n1", "n2", "n3"),
        outgoing=(),
        learners=("n4",),
    ),
    SnapshotPull(sender="n2", receiver="n1", term=3, transfer=U64, offset=1 << 40, chunks=8),
    SnapshotChunk(
        sender="n1",
        receiver="n2",
        term=3,
        transfer=U64,
        offset=1 << 40,
        data=b"\x00page",
        crc32=(1 << 32) - 1,
    ),
    SnapshotDone(sender="n2", receiver="n1", term=3, transfer=U64, installed=True),
    Hello(
        sender="n2",
        receiver="n1",
        term=0,
        incarnation=U64,
        recovering=True,
        forgot=True,
        echo=U64,
        lives=b"\xff" * 16,
    ),
    Challenge(sender="n1", receiver="n2", term=0, answers_boot=U64, number=U64),
    Welcome(
        sender="n1",
        receiver="n2",
        term=0,
        answers_boot=U64,
        known_boot=U64 - 1,
        known=False,
        formed=True,
    ),
    ChecksumReport(
        sender="n2", receiver="n1", term=3, index=I63, entry_term=2, digest=bytes(range(32))
    ),
    ChecksumVerdict(
        sender="n1", receiver="n2", term=3, index=9, entry_term=I63, digest=bytes(range(32))
    ),
    RebuildRequest(sender="n2", receiver="n1", term=3, index=I63),
    ChecksumRequest(sender="n2", receiver="n1", term=3),
)

STATUS: Final = NodeStatus(
    node="n1",
    cluster=CLUSTER,
    role="leader",
    term=3,
    leader="n1",
    leader_client_address="tcp://127.0.0.1:7101",
    commit_index=9,
    applied_index=8,
    last_index=10,
    first_index=1,
    contact_age_ms=0,
    pid=4711,
    boot=BOOT,
    version="0.1.0",
    reads=12,
    writes=34,
    peers={"n2": PeerStatus(match=9, flow="REPLICATE")},
    since_ms=5_000,
    fsyncs=56,
    dropped={"cluster": 1},
    conditions={"disk full": "only 3 MiB are left"},
    serves_reads=False,
)

REQUEST: Final = encode_request(
    Kind.WRITE,
    bytes(range(16)),
    U64,
    Level.SESSION,
    I63,
    1_500,
    10_000,
    Flags.NO_FOREIGN_KEYS,
    b"payload",
)
REPLY: Final = encode_reply(bytes(range(16)), U64, 0, I63, b"body", "n1", 3)
STATEMENTS: Final = encode_statements(
    [("INSERT INTO t VALUES (?, ?, ?, ?, ?)", [None, -(1 << 63), 0.5, "ü", b"\x00"])]
)
RESULTS: Final = encode_results([(1, 7, None, None), (0, 0, ("a", "b"), ((1, "x"), (None, b"")))])
ERROR: Final = encode_error("n2 is not the leader", "tcp://127.0.0.1:7101")


QUERIES: Final = QueryList(
    node="n2",
    queries=(
        RunningQuery(
            id="n2-1a2b3-17",
            kind="read",
            state="running",
            since_ms=2_300,
            client="00ff",
            index=0,
            requests=1,
            steps=0,
            sql="SELECT count(*) FROM t",
            sql_whole=True,
        ),
        RunningQuery(
            id="n2-1a2b3-w1234",
            kind="write",
            state="running",
            since_ms=120,
            client="",
            index=1_234,
            requests=1,
            steps=1 << 32,
            sql="UPDATE t SET a = a + 1",
            sql_whole=False,
        ),
    ),
    left_out=3,
    reads_waiting=40,
    entries_waiting=2,
)


def samples() -> dict[str, bytes]:
    """Name -> bytes of every kind of message; the names stand in the golden file."""
    found = {
        f"peer {type(message).__name__}": encode_peer(message, CLUSTER, BOOT)
        for message in PEER_MESSAGES
    }
    found.update(
        {
            "client request": REQUEST,
            "client reply": REPLY,
            "client batch": encode_batch([REQUEST, b"second"]),
            "payload statements": STATEMENTS,
            "body results": RESULTS,
            "body error": ERROR,
            "body status": encode_status(STATUS),
            "body queries": encode_queries(QUERIES),
            "payload verify": encode_verify(I63, 2),
            "body comparison": encode_comparison(9, 2, True, [NodeFinding("n1", "equal", "0a")]),
        }
    )
    return found
