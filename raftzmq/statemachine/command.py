"""The bytes of one log entry: a clock, a seed, limits, and the requests grouped into it.

Layout: msgpack array [version, clock_ms, seed, flags, limits] followed by client, sequence,
since and payload of each request, flattened, because one array of a thousand small arrays costs
twice as much to decode. ``limits`` is the array of the fields of ``ApplyLimits``. The payload of
a request stays opaque here; a bad payload is that request's fault, a bad entry is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag
from itertools import chain
from typing import Final, NamedTuple, cast

import msgpack

from raftzmq.statemachine.bounds import ApplyLimits

COMMAND_VERSION: Final = 1
CLOCK_MS_MAX: Final = 253_402_300_799_999
"""Last millisecond of the year 9999: SQLite's date functions end there."""
SEED_MAX: Final = (1 << 64) - 1
_LIMIT_MAX: Final = (1 << 63) - 1
_HEADER_FIELDS: Final = 5
_REQUEST_FIELDS: Final = 4


class CommandFlags(IntFlag):
    """How a whole entry is applied; numbers are on disk and equal those of the client wire."""

    NO_FOREIGN_KEYS = 4
    KEYED = 8
    """Each request's ``client`` is an idempotency key, see ``exactly_once``."""
    NO_RESULT = 16
    """The ledger keeps no results of these requests, only that they were applied."""


_FLAGS: Final = sum(CommandFlags)


class CommandError(Exception):
    """The bytes are not a command of this version."""


class Request(NamedTuple):
    """One write of one client.

    Attributes:
        client: session id; ``b""`` is anonymous and is never deduplicated. In a KEYED entry
            the idempotency key.
        sequence: number of the write within its session; in a KEYED entry the attempt's.
        since: highest log index that the client knew of when it first sent this write; the
            ledger uses it to tell a new request from a retry it has forgotten.
        payload: msgpack of [[sql, parameters], ...].
    """

    client: bytes
    sequence: int
    since: int
    payload: bytes


class Command(NamedTuple):
    """A decoded entry.

    Attributes:
        clock_ms: the leader's wall clock, milliseconds since 1970 UTC.
        seed: 64 random bits.
        flags: bits of CommandFlags; unknown bits are an error, never ignored.
        limits: those of the leader that made the entry; every replica applies them.
        requests: in the order in which they are applied.
    """

    clock_ms: int
    seed: int
    flags: int
    limits: ApplyLimits
    requests: list[Request]


def encode_command(
    *, clock_ms: int, seed: int, flags: int = 0, limits: ApplyLimits, requests: Sequence[Request]
) -> bytes:
    """Encode an entry; the inverse of ``decode_command``."""
    flat = [COMMAND_VERSION, clock_ms, seed, flags, limits]
    return cast(bytes, msgpack.packb([*flat, *chain.from_iterable(requests)]))


def decode_command(data: bytes) -> Command:
    """Decode the bytes of an entry.

    Raises:
        CommandError: wrong shape, type, range or version. A *committed* entry with this error
            is a broken invariant: the leader encoded it.
    """
    try:
        flat = msgpack.unpackb(data, use_list=False)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise CommandError(f"not msgpack: {error}") from error
    if type(flat) is not tuple or len(flat) < _HEADER_FIELDS:
        raise CommandError("not an array of the right length")
    if (len(flat) - _HEADER_FIELDS) % _REQUEST_FIELDS:
        raise CommandError("not an array of the right length")
    version, clock_ms, seed, flags, limits = flat[:_HEADER_FIELDS]
    if version != COMMAND_VERSION:
        raise CommandError(f"version {version!r}, this program knows {COMMAND_VERSION}")
    if not (_whole(clock_ms, CLOCK_MS_MAX) and _whole(seed, SEED_MAX)):
        raise CommandError(f"clock {clock_ms!r} or seed {seed!r} out of range")
    if type(flags) is not int or flags & ~_FLAGS:
        raise CommandError(f"unknown flags {flags!r}")
    if (
        type(limits) is not tuple
        or len(limits) != len(ApplyLimits._fields)
        or not all(_whole(limit, _LIMIT_MAX) for limit in limits)
    ):
        raise CommandError(f"limits {limits!r} of another shape")
    requests: list[Request] = []
    fields = iter(flat[_HEADER_FIELDS:])
    for client, sequence, since, payload in zip(fields, fields, fields, fields, strict=True):
        if (
            type(client) is not bytes
            or type(payload) is not bytes
            or type(sequence) is not int
            or type(since) is not int
        ):
            raise CommandError(f"request {len(requests)} has a field of a wrong type")
        requests.append(Request(client, sequence, since, payload))
    return Command(clock_ms, seed, flags, ApplyLimits._make(limits), requests)


def _whole(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most
