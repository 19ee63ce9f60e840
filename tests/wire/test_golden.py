"""The bytes of version 1 do not change by accident.

A test that fails here means that nodes of two builds may not understand each other. If that is
meant, raise the version in ``wire/version.py``, then write the new bytes:
``python -m tests.wire.test_golden``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from raftzmq.raft.messages import MESSAGE_TABLE
from raftzmq.wire.client import Flags, Kind, Level, ReplyFlags
from raftzmq.wire.equality import EQUALITY_CODES
from raftzmq.wire.greeting import GREETING_CODES
from raftzmq.wire.transfer import TRANSFER_CODES
from raftzmq.wire.version import CLIENT_FRAME, PEER_PREFIX
from tests.wire.samples import PEER_MESSAGES, samples

GOLDEN = Path(__file__).parent / "golden" / "version1.txt"
CODES = Path(__file__).parent / "golden" / "codes.txt"


def pairs(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    return dict(line.rsplit(" = ", 1) for line in lines if line and not line.startswith("#"))


def codes_now() -> dict[str, str]:
    found = {f"peer {cls.__name__}": rule.code for cls, rule in MESSAGE_TABLE.items()}
    for table in (TRANSFER_CODES, GREETING_CODES, EQUALITY_CODES):
        found.update({f"peer {cls.__name__}": code for cls, code in table.items()})
    for enum in (Kind, Level, Flags, ReplyFlags):
        found.update({f"{enum.__name__} {member.name}": member.value for member in enum})
    return {name: str(code) for name, code in found.items()}


@pytest.mark.parametrize("name", samples())
def test_the_bytes_are_those_of_version_1(name: str) -> None:
    assert samples()[name].hex() == pairs(GOLDEN)[name]


def test_the_golden_file_holds_nothing_else() -> None:
    assert set(pairs(GOLDEN)) == set(samples())


def test_there_is_a_sample_of_each_peer_message() -> None:
    known = {*MESSAGE_TABLE, *TRANSFER_CODES, *GREETING_CODES, *EQUALITY_CODES}
    assert {type(message) for message in PEER_MESSAGES} == known


def test_a_code_once_given_is_never_given_to_something_else() -> None:
    golden, now = pairs(CODES), codes_now()
    for name, code in now.items():
        space = name.split()[0]
        takers = [old for old, used in golden.items() if used == code and old.split()[0] == space]
        assert takers == [name], f"{code} belongs to {takers}; new names go into {CODES.name}"


def test_the_version_bytes() -> None:
    assert (CLIENT_FRAME, PEER_PREFIX) == (b"RZQ\x01", b"RZP\x01")


def write() -> None:
    """Write both files anew; a code that is no longer used keeps its line."""
    lines = [f"{name} = {data.hex()}\n" for name, data in samples().items()]
    GOLDEN.write_text("# One message of each kind as hex, see samples.py.\n" + "".join(lines))
    kept = {**codes_now(), **(pairs(CODES) if CODES.exists() else {})}
    lines = [f"{name} = {code}\n" for name, code in kept.items()]
    CODES.write_text("# Every code ever given; lines are added, never removed.\n" + "".join(lines))


if __name__ == "__main__":
    write()
