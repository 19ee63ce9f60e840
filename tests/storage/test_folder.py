"""A data folder belongs to one node and one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftzmq.errors import (
    DataFolderLocked,
    DataFolderMismatch,
    StorageDamaged,
    StorageFailed,
)
from raftzmq.storage.folder import LIVES_MAX, DataFolder
from tests.small_disk import small_disk


def _open(path: Path, cluster: str = "c1", node: str = "n1") -> DataFolder:
    return DataFolder.open(path, cluster=cluster, node=node)


def test_makes_the_folder_and_opens_it_again(tmp_path: Path) -> None:
    path = tmp_path / "some" / "where"
    first = _open(path)
    assert first.path == path
    assert first.free_bytes() > 0
    first.close()
    first.close()
    second = _open(path)
    assert second.incarnation == first.incarnation
    assert first.boot_id < second.boot_id < 1 << 64
    second.close()


def test_a_wiped_folder_is_another_incarnation(tmp_path: Path) -> None:
    with_data, empty = _open(tmp_path / "a"), _open(tmp_path / "b")
    assert with_data.incarnation != empty.incarnation
    with_data.close()
    empty.close()


def test_a_locked_folder_names_the_holder(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path;"
            "from raftzmq.storage.folder import DataFolder;"
            "f = DataFolder.open(Path(sys.argv[1]), cluster='c1', node='n1');"
            "print('held', flush=True); sys.stdin.read()",
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(DataFolderLocked, match=f"in use by process {child.pid};"):
            _open(tmp_path)
        child.kill()
    # The lock dies with its holder; nothing has to be removed by hand.
    _open(tmp_path).close()


@pytest.mark.parametrize(
    ("cluster", "node", "says"),
    [
        ("c2", "n1", "belongs to cluster 'c1', not to 'c2'"),
        ("c1", "n2", "belongs to node 'n1', not to 'n2'"),
    ],
)
def test_a_folder_of_someone_else(tmp_path: Path, cluster: str, node: str, says: str) -> None:
    _open(tmp_path).close()
    for _ in range(2):  # and the refusal leaves no lock behind
        with pytest.raises(DataFolderMismatch, match=says):
            _open(tmp_path, cluster, node)
    _open(tmp_path).close()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"format": 1}', b"\xff\xfe", b'"text"']
)
def test_a_damaged_identity(tmp_path: Path, content: bytes) -> None:
    _open(tmp_path).close()
    (tmp_path / "identity.json").write_bytes(content)
    with pytest.raises(StorageDamaged, match=r"identity\.json is damaged: .*raftzmq rebuild NODE"):
        _open(tmp_path)


def test_an_identity_of_a_newer_version(tmp_path: Path) -> None:
    _open(tmp_path).close()
    file = tmp_path / "identity.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(StorageDamaged, match="format 2 is not 1"):
        _open(tmp_path)


def test_data_without_an_identity(tmp_path: Path) -> None:
    _open(tmp_path).close()
    (tmp_path / "identity.json").unlink()
    (tmp_path / "raft.db").touch()
    with pytest.raises(StorageDamaged, match=r"identity\.json is missing while raft\.db is there"):
        _open(tmp_path)


@pytest.mark.parametrize(
    "content", [None, b"many", b"", b"\xff1", b"-3", b"99999999999", b"3\nlives"]
)
def test_a_damaged_boot_counter_goes_on_above_all_earlier_ones(
    tmp_path: Path, content: bytes | None
) -> None:
    before = _open(tmp_path)
    before.close()
    (tmp_path / "raft.db").touch()
    file = tmp_path / "boots"
    file.write_bytes(content) if content is not None else file.unlink()
    repaired = _open(tmp_path)
    repaired.close()
    assert repaired.boot_id > before.boot_id
    assert "lost or damaged" in repaired.notes[0]
    after = _open(tmp_path)
    after.close()
    assert after.boot_id > repaired.boot_id
    assert after.boot_id >> 32 == (repaired.boot_id >> 32) + 1
    assert after.notes == ()


def test_a_folder_remembers_its_lives(tmp_path: Path) -> None:
    boots: list[int] = []
    for _ in range(3):
        folder = _open(tmp_path)
        assert folder.lives == tuple(reversed(boots))
        boots.append(folder.boot_id)
        folder.close()
    known = 9 << 32 | 7
    boots += [known, folder.raise_boot_id(known)]
    assert boots[-1] >> 32 == 10
    assert set(folder.lives) == set(boots[:-1])
    folder.close()
    again = _open(tmp_path)
    again.close()
    assert set(again.lives) == set(boots)
    assert again.boot_id >> 32 == 11


def test_a_boot_id_grows_whatever_peers_know(tmp_path: Path) -> None:
    for _ in range(3):
        folder = _open(tmp_path)
        folder.close()
    assert folder.raise_boot_id(1 << 32) >> 32 == 4


def test_it_forgets_the_oldest_lives(tmp_path: Path) -> None:
    _open(tmp_path).close()
    lives = [f"{life:016x}" for life in range(600, 100, -1)]
    (tmp_path / "boots").write_text("\n".join(["700", *lives, *["1"] * 20]))
    _open(tmp_path).close()
    folder = _open(tmp_path)
    folder.close()
    assert len(folder.lives) == LIVES_MAX
    assert folder.lives[1] == 600


def test_a_count_without_lives_is_of_an_earlier_version(tmp_path: Path) -> None:
    _open(tmp_path).close()
    (tmp_path / "boots").write_bytes(b"7\n")
    folder = _open(tmp_path)
    folder.close()
    assert (folder.boot_id >> 32, folder.lives, folder.notes) == (8, (), ())


def test_a_new_folder_counts_from_one(tmp_path: Path) -> None:
    folder = _open(tmp_path)
    folder.close()
    assert (folder.boot_id >> 32, folder.notes) == (1, ())


def test_moving_aside_keeps_everything_and_leaves_room_for_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "n1"
    for number in (1, 2):
        _open(path).close()
        (path / "raft.db").write_bytes(b"evidence")
        held = DataFolder.hold(path)
        moved = held.move_aside()
        held.close()
        assert moved == tmp_path / f"n1.damaged-{number}"
        assert (moved / "raft.db").read_bytes() == b"evidence"
        assert not path.exists()


def test_a_held_folder_is_not_opened(tmp_path: Path) -> None:
    held = DataFolder.hold(tmp_path)
    with pytest.raises(DataFolderLocked):
        _open(tmp_path)
    held.close()


def test_a_mount_point_is_emptied_instead(tmp_path: Path) -> None:
    with small_disk(tmp_path / "n1", megabytes=1) as path:
        _open(path).close()
        (path / "raft.db").write_bytes(b"evidence")
        held = DataFolder.hold(path)
        moved = held.move_aside()
        held.close()
        assert moved == path / "damaged-1"
        assert (moved / "raft.db").read_bytes() == b"evidence"
        _open(path).close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="file/inside"):
        _open(tmp_path / "file" / "inside")
