"""Valid messages, spoilt: in the structure of their msgpack, or byte by byte.

A mutation of the tree passes the outer checks more often than one of the bytes, and so reaches
what lies behind them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgpack

GOLDEN: Final = Path(__file__).parents[2] / "wire" / "golden" / "version1.txt"
U64: Final = (1 << 64) - 1
NUMBERS: Final = (0, 1, 2, 3, 7, 127, 128, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 63) - 1)
NUMBERS_WIDE: Final = (*NUMBERS, 1 << 63, U64, -1, -(1 << 63))
PEER_PREFIX_BYTES: Final = 4


def golden(*kinds: str) -> list[bytes]:
    """The golden messages whose name begins with one of these; all without any."""
    found = []
    for line in GOLDEN.read_text().splitlines():
        if line.startswith("#"):
            continue
        name, _, data = line.partition(" = ")
        if not kinds or name.startswith(kinds):
            found.append(bytes.fromhex(data))
    return found


def any_value(rng: random.Random, depth: int = 0) -> Any:
    """A small value of any type that msgpack knows."""
    makers: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.choice(NUMBERS_WIDE),
        lambda: rng.choice((0.5, float("nan"), float("inf"), -0.0)),
        lambda: rng.choice(("", "n1", "n2", "x" * 40, "\0", "ü", "\U0010ffff")),
        lambda: rng.randbytes(rng.choice((0, 1, 16, 32, 33, 200))),
        lambda: msgpack.ExtType(rng.randrange(128), rng.randbytes(3)),
    ]
    if depth < 3:
        makers.append(lambda: [any_value(rng, depth + 1) for _ in range(rng.randrange(5))])
        makers.append(lambda: {"key": any_value(rng, depth + 1)})
    return rng.choice(makers)()


def spoil_bytes(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to four bytes changed, cut out or put in, the end cut off, or another message's end."""
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(spoilt))
        match rng.randrange(6):
            case 0 if at < len(spoilt):
                spoilt[at] = rng.randrange(256)
            case 1 if at < len(spoilt):
                spoilt[at] ^= 1 << rng.randrange(8)
            case 2:
                del spoilt[at : at + rng.randint(1, 8)]
            case 3:
                spoilt[at:at] = rng.randbytes(rng.randint(1, 8))
            case 4:
                spoilt[at:] = rng.choice(others)[at:]
            case _:
                del spoilt[at:]
    return bytes(spoilt)


def spoil_tree(rng: random.Random, data: bytes, skip: int = 0) -> bytes:
    """Another value, type or count somewhere in the msgpack value after ``skip`` bytes."""
    try:
        tree = msgpack.unpackb(data[skip:], strict_map_key=False)
    except (ValueError, TypeError, RecursionError):
        return data
    for _ in range(rng.randint(1, 3)):
        tree = _spoilt(rng, tree)
    try:
        return data[:skip] + bytes(msgpack.packb(tree))
    except (OverflowError, ValueError):
        return data


def _spoilt(rng: random.Random, tree: Any) -> Any:
    if isinstance(tree, list) and tree:
        at = rng.randrange(len(tree))
        match rng.randrange(8):
            case 0:
                del tree[at]
            case 1:
                tree.insert(at, any_value(rng))
            case 2:
                tree.append(tree[at])
            case 3:
                other = rng.randrange(len(tree))
                tree[at], tree[other] = tree[other], tree[at]
            case _:
                tree[at] = _spoilt(rng, tree[at])
        return tree
    if isinstance(tree, dict) and tree:
        key = rng.choice(sorted(tree, key=str))
        if rng.random() < 0.3:
            del tree[key]
        else:
            tree[key] = _spoilt(rng, tree[key])
        return tree
    if isinstance(tree, bytes) and tree and rng.random() < 0.5:
        # What is packed inside of what is packed: the blobs of a batch, the body of a reply.
        return spoil_tree(rng, tree) if rng.random() < 0.7 else spoil_bytes(rng, tree, [tree])
    if isinstance(tree, int) and not isinstance(tree, bool) and rng.random() < 0.7:
        return rng.choice((*NUMBERS_WIDE, min(U64, tree + 1), tree - 1 if tree else 0))
    return any_value(rng)


def spoil_text(rng: random.Random, text: str, others: list[str]) -> str:
    """Lines, words and characters of a text changed, doubled, swapped or removed."""
    for _ in range(rng.randint(1, 4)):
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0:
                lines.insert(at, rng.choice(others).split("\n")[0])
            case 1:
                del lines[at]
            case 2:
                lines.insert(rng.randrange(len(lines)), lines[at])
            case 3:
                key, equals, _ = lines[at].partition("=")
                lines[at] = key + (equals or "=") + rng.choice(others)
            case 4:
                place = rng.randint(0, len(lines[at]))
                lines[at] = lines[at][:place] + rng.choice(others) + lines[at][place:]
            case 5 if lines[at]:
                place = rng.randrange(len(lines[at]))
                lines[at] = lines[at][:place] + lines[at][place + rng.randint(1, 3) :]
            case _:
                lines[at] = "".join(chr(rng.randrange(1, 0x250)) for _ in range(rng.randrange(30)))
        text = "\n".join(lines)
    return text
