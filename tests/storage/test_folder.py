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
from raftzmq.storage.folder import DataFolder


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
    with pytest.raises(StorageDamaged, match=r"identity\.json is not an identity file"):
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


def test_a_damaged_boot_counter(tmp_path: Path) -> None:
    _open(tmp_path).close()
    (tmp_path / "boots").write_text("many")
    with pytest.raises(StorageDamaged, match="does not hold a number"):
        _open(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="file/inside"):
        _open(tmp_path / "file" / "inside")
