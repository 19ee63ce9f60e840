from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from raftzmq.raft.messages import AppendRequest, HeartbeatRequest
from raftzmq.raft.types import Configuration, Entry, EntryKind, Snapshot
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.peer import Envelope, PeerMessage, decode_peer, encode_peer
from raftzmq.wire.transfer import SnapshotOffer
from raftzmq.wire.version import PEER_PREFIX, VersionMismatch
from tests.wire.samples import BOOT, CLUSTER, PEER_MESSAGES

HEARTBEAT = next(each for each in PEER_MESSAGES if type(each) is HeartbeatRequest)
APPEND = next(each for each in PEER_MESSAGES if type(each) is AppendRequest)


def elements(message: PeerMessage) -> list[Any]:
    found: list[Any] = msgpack.unpackb(encode_peer(message, CLUSTER, BOOT)[4:])
    return found


def frame(values: object) -> bytes:
    return PEER_PREFIX + bytes(msgpack.packb(values))


@pytest.mark.parametrize("message", PEER_MESSAGES, ids=lambda message: type(message).__name__)
def test_each_message_comes_back_equal(message: PeerMessage) -> None:
    envelope, decoded = decode_peer(encode_peer(message, CLUSTER, BOOT))
    assert decoded == message
    assert type(decoded) is type(message)
    assert envelope == Envelope(CLUSTER, message.sender, BOOT)


@pytest.mark.parametrize("message", PEER_MESSAGES, ids=lambda message: type(message).__name__)
def test_no_element_may_be_missing_added_or_of_another_type(message: PeerMessage) -> None:
    values = elements(message)
    for at in range(len(values)):
        for wrong in (None, [], {}, 1.5, -1, [values[at]], not values[at]):
            if type(wrong) is type(values[at]) and wrong != -1:
                continue
            with pytest.raises(DecodeError):
                decode_peer(frame([*values[:at], wrong, *values[at + 1 :]]))
        if type(message) is AppendRequest and at in (9, 12, 15):
            continue  # an append with fewer entries is one too
        with pytest.raises(DecodeError):
            decode_peer(frame(values[:at]))
    with pytest.raises(DecodeError):
        decode_peer(frame([*values, 0]))


def test_entries_are_numbered_from_prev_index_and_keep_their_kind() -> None:
    _, decoded = decode_peer(encode_peer(APPEND, CLUSTER, BOOT))
    assert type(decoded) is AppendRequest
    assert [entry.index for entry in decoded.entries] == [8, 9, 10]
    assert decoded.entries[0].kind is EntryKind.NOOP


def test_an_append_without_entries() -> None:
    empty = replace(APPEND, entries=())
    assert decode_peer(encode_peer(empty, CLUSTER, BOOT))[1] == empty


@pytest.mark.parametrize("terms", [(0,), (4,), (2, 1)], ids=["below prev", "above term", "falls"])
def test_terms_of_entries_never_fall_and_never_pass_the_leaders(terms: tuple[int, ...]) -> None:
    entries = tuple(Entry(8 + at, term, EntryKind.NOOP, b"") for at, term in enumerate(terms))
    with pytest.raises(DecodeError, match="entry of term"):
        decode_peer(encode_peer(replace(APPEND, entries=entries), CLUSTER, BOOT))


def test_an_unknown_kind_of_entry_is_refused() -> None:
    values = elements(APPEND)
    values[9] = 9
    with pytest.raises(DecodeError, match="unknown kind of entry 9"):
        decode_peer(frame(values))


def test_numbers_that_no_disk_can_hold_are_refused() -> None:
    for message in (replace(HEARTBEAT, term=1 << 63), replace(HEARTBEAT, commit_index=1 << 63)):
        with pytest.raises(DecodeError, match="out of range"):
            decode_peer(encode_peer(message, CLUSTER, BOOT))
    last = replace(APPEND, prev_index=(1 << 63) - 1)
    with pytest.raises(DecodeError, match="below the last log index"):
        decode_peer(encode_peer(last, CLUSTER, BOOT))


def test_names_must_be_there() -> None:
    for message in (replace(HEARTBEAT, sender=""), replace(HEARTBEAT, receiver="")):
        with pytest.raises(DecodeError):
            decode_peer(encode_peer(message, CLUSTER, BOOT))


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(DecodeError, match="unknown peer message 99"):
        decode_peer(frame([99, CLUSTER, "n1", "n2", BOOT, 1]))


def test_another_version_is_told_from_rubbish() -> None:
    data = encode_peer(HEARTBEAT, CLUSTER, BOOT)
    with pytest.raises(VersionMismatch, match="RZP version 2; this program speaks version 1"):
        decode_peer(b"RZP\x02" + data[4:])
    for rubbish in (b"", b"RZP", b"RZQ\x01" + data[4:], b"GET / HTTP/1.1"):
        with pytest.raises(DecodeError) as caught:
            decode_peer(rubbish)
        assert type(caught.value) is DecodeError


def test_an_offer_names_the_snapshot_in_words_of_raft() -> None:
    offer = next(each for each in PEER_MESSAGES if type(each) is SnapshotOffer)
    assert offer.snapshot() == Snapshot(
        index=9,
        term=2,
        configuration=Configuration(
            voters=frozenset({"n1", "n2", "n3"}), learners=frozenset({"n4"})
        ),
    )


def many_entries(count: int) -> AppendRequest:
    entry = Entry(1, 1, EntryKind.COMMAND, b"x")
    entries = tuple(replace(entry, index=8 + at) for at in range(count))
    return replace(APPEND, entries=entries)


def test_an_append_of_many_entries_is_read_one_by_one_and_as_strictly() -> None:
    message = many_entries(2000)
    _, decoded = decode_peer(encode_peer(message, CLUSTER, BOOT))
    assert decoded == message
    values = elements(message)
    for odd in (
        frame([*values, 0]),
        frame(values[:-1]),
        frame(values)[:-1],
        frame(values)[: -len(msgpack.packb(values[-3:])) + 1],  # one whole entry
        frame(values) + b"\0",
        frame([*values[:-1], [b"x"]]),
        frame([*values[:-1], []]),
        frame([*values[:-1], {}]),
    ):
        with pytest.raises(DecodeError):
            decode_peer(odd)


def test_promises_within_promises_take_no_room() -> None:
    """Each level of an array that announces 65,535 elements takes 512 KiB before any is there."""
    for nested in (b"\xdc\xff\xff" * 600, b"\xdc\x04\x01" + b"\xdc\xff\xff" * 600):
        for data in (nested, nested + bytes(70_000)):
            tracemalloc.start()
            try:
                with pytest.raises(DecodeError):
                    decode_peer(PEER_PREFIX + data)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < 8 << 20
