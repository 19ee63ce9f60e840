"""Which protocol a frame speaks: three letters and a version byte, before anything else.

A frame of another version is never decoded any further: a client gets
``errors.UnsupportedVersion`` in the version this program speaks, a peer's frame is dropped and
counted. A version number is never reused for another layout.
"""

from __future__ import annotations

from typing import Final

from raftzmq.wire.codec import DecodeError

CLIENT_TAG: Final = b"RZQ"
CLIENT_VERSION: Final = 1
CLIENT_FRAME: Final = CLIENT_TAG + bytes((CLIENT_VERSION,))
"""Frame 0 of each client message and reply."""

PEER_TAG: Final = b"RZP"
PEER_VERSION: Final = 1
PEER_PREFIX: Final = PEER_TAG + bytes((PEER_VERSION,))
"""First bytes of the single frame of each peer message."""


class VersionMismatch(DecodeError):
    """The tag is right and the version is not one that this program speaks."""


def check_client_frame(frame: bytes | memoryview) -> None:
    """Raise unless ``frame`` is frame 0 of a client message of this version.

    Raises:
        VersionMismatch: another version of the same protocol; answer UnsupportedVersion.
        DecodeError: not this protocol at all; answer MalformedRequest.
    """
    if frame != CLIENT_FRAME:
        _refuse(frame, CLIENT_TAG, CLIENT_VERSION)


def check_peer_prefix(data: bytes | memoryview) -> None:
    """Raise unless ``data`` begins as a peer message of this version.

    Raises:
        VersionMismatch: another version of the same protocol.
        DecodeError: not this protocol at all.
    """
    if data[:4] != PEER_PREFIX:
        _refuse(data[:4], PEER_TAG, PEER_VERSION)


def _refuse(found: bytes | memoryview, tag: bytes, version: int) -> None:
    if len(found) == 4 and found[:3] == tag:
        raise VersionMismatch(
            f"protocol {tag.decode()} version {found[3]}; this program speaks version {version}"
        )
    raise DecodeError(
        f"frame begins with {bytes(found[:8])!r}, expected {tag!r} and a version byte"
    )
