"""The mark of a quarantined node survives what a folder survives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raftzmq.storage.quarantine import QUARANTINE_NAME, QuarantineMark, read_mark, write_mark

MARK = QuarantineMark(index=7, own="aa", right="bb", rebuilt_index=9)


def test_no_file_is_no_quarantine(tmp_path: Path) -> None:
    assert read_mark(tmp_path) is None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_mark(tmp_path, MARK)
    assert read_mark(tmp_path) == MARK
    write_mark(tmp_path, QuarantineMark(index=1))
    assert read_mark(tmp_path) == QuarantineMark(index=1)


def test_removal_is_final_and_may_be_repeated(tmp_path: Path) -> None:
    write_mark(tmp_path, MARK)
    write_mark(tmp_path, None)
    write_mark(tmp_path, None)
    assert read_mark(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"format": 2, "index": 7}',
        b'{"format": 1}',
        b'{"format": 1, "index": "7"}',
        b'{"format": 1, "index": -7}',
        b'{"format": 1, "index": 7, "more": 1}',
        json.dumps({"format": 1, "index": 7, "own": None}).encode(),
    ],
)
def test_a_mark_that_cannot_be_read_still_quarantines(tmp_path: Path, content: bytes) -> None:
    (tmp_path / QUARANTINE_NAME).write_bytes(content)
    assert read_mark(tmp_path) == QuarantineMark(index=0)


def test_a_mark_written_half_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mark(tmp_path, MARK)

    def fails(self: Path, target: Path) -> Path:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        write_mark(tmp_path, QuarantineMark(index=8))
    assert read_mark(tmp_path) == MARK
