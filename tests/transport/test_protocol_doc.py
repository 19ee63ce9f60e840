"""docs/PROTOCOL.md is true: its tables are the code's, and its example runs as it stands."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import zmq

from raftzmq.errors import WIRE_ERRORS, NotLeader
from raftzmq.raft.messages import MESSAGE_TABLE
from raftzmq.transport.sockets import Context, Purpose, Socket, bind, open_socket
from raftzmq.wire.client import (
    Flags,
    Kind,
    Level,
    ReplyFlags,
    RequestHeader,
    decode_batch,
    decode_request,
    encode_batch,
    encode_error,
    encode_reply,
    encode_results,
)
from raftzmq.wire.equality import EQUALITY_CODES
from raftzmq.wire.greeting import GREETING_CODES
from raftzmq.wire.status import NodeStatus, encode_status
from raftzmq.wire.transfer import TRANSFER_CODES
from raftzmq.wire.version import CLIENT_FRAME, check_client_frame
from tests.wire.samples import STATUS

TEXT = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines()]


def test_the_table_of_errors_is_that_of_the_code() -> None:
    found = {tuple(row[:3]) for row in ROWS if len(row) == 4 and row[2].isupper()}
    assert found == {
        (str(code), cls.__name__, cls.outcome.name) for code, cls in WIRE_ERRORS.items()
    }


@pytest.mark.parametrize("enum", [Kind, Level, Flags, ReplyFlags])
def test_the_tables_of_kinds_levels_and_flags_are_those_of_the_code(enum: Any) -> None:
    found = {tuple(row[:2]) for row in ROWS if len(row) == 3}
    assert {(member.name, str(member.value)) for member in enum} <= found


def test_the_table_of_peer_messages_is_that_of_the_code() -> None:
    codes: dict[type[Any], int] = {cls: rule.code for cls, rule in MESSAGE_TABLE.items()}
    codes |= {**TRANSFER_CODES, **GREETING_CODES, **EQUALITY_CODES}
    named = [row for row in ROWS if len(row) == 3 and row[0].isdigit() and row[1].isidentifier()]
    found = {(row[0], row[1]): row[2] for row in named}
    assert set(found) == {(str(code), cls.__name__) for cls, code in codes.items()}
    for cls, code in codes.items():
        names = [each.name for each in fields(cls)][3:]
        shown = found[str(code), cls.__name__].split(", then ")[0]
        assert shown == (", ".join(each for each in names if each != "entries") or "none")


def test_the_fields_of_requests_and_of_the_status_are_all_explained() -> None:
    found = [row[1] for row in ROWS if len(row) == 4 and row[0].isdigit()]
    assert [name for name in found if name in RequestHeader._fields][:9] == [*RequestHeader._fields]
    keys = {key for row in ROWS if len(row) == 3 for key in row[0].split(", ")}
    assert {each.name for each in fields(NodeStatus)} <= keys


def serve(inbox: Socket, count: int, answer: Callable[[RequestHeader], tuple[int, bytes]]) -> None:
    for _ in range(count):
        assert inbox.poll(5_000)
        *envelope, frame, batch = inbox.recv_multipart()
        check_client_frame(frame)
        replies = []
        for blob in decode_batch(batch):
            header = decode_request(blob)
            code, body = answer(header)
            replies.append(encode_reply(header.client, header.sequence, code, 42, body, "n1"))
        inbox.send_multipart([*envelope, CLIENT_FRAME, encode_batch(replies)])


def test_the_example_writes_reads_and_asks_for_the_status(
    context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two scripted servers: a follower that names the leader, and the leader."""
    with (
        open_socket(context, Purpose.CLIENT_ROUTER) as follower,
        open_socket(context, Purpose.CLIENT_ROUTER) as leader,
    ):
        for inbox in (follower, leader):
            bind(inbox, "tcp://127.0.0.1:*")
        leader_address = leader.getsockopt_string(zmq.LAST_ENDPOINT)

        def by_follower(header: RequestHeader) -> tuple[int, bytes]:
            if header.kind == Kind.WRITE:
                assert header.min_index == 42, "a write says what its client had seen"
                return NotLeader.code, encode_error("n1 is not the leader", leader_address)
            if header.kind == Kind.READ:
                return 0, encode_results([(0, 0, ("a",), ((7,),))])
            return 0, encode_status(STATUS)

        servers = [
            threading.Thread(target=serve, args=(follower, 3, by_follower)),
            threading.Thread(
                target=serve,
                args=(leader, 1, lambda header: (0, encode_results([(1, 1, None, None)]))),
            ),
        ]
        for server in servers:
            server.start()
        [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
        example: dict[str, Any] = {}
        exec(code, example)
        example["main"](follower.getsockopt_string(zmq.LAST_ENDPOINT))
        for server in servers:
            server.join(5)
    assert capsys.readouterr().out.splitlines() == [
        "n1 leader applied 8",
        "written at 42 changes 1",
        "columns ['a'] rows [[7]]",
    ]
