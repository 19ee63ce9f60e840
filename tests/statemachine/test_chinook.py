"""A well-known database, loaded through the machine as one request."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.statemachine.conftest import MakeWorld

ROOT = Path(__file__).parents[2]
CHINOOK = Path(os.environ.get("RAFTZMQ_CHINOOK", ROOT.parent / "shared/data/chinook.sql"))


@pytest.mark.skipif(not CHINOOK.exists(), reason="RAFTZMQ_CHINOOK names no file")
def test_chinook(make_world: MakeWorld) -> None:
    text = CHINOOK.read_text(encoding="utf-8-sig")
    worlds = [make_world(), make_world()]
    for world in worlds:
        world.ok(text, flags=4)
        assert world.rows("PRAGMA foreign_key_check") == []
        assert world.rows("SELECT count(*) FROM Track") == [[3503]]
        world.ok("UPDATE Invoice SET InvoiceDate = datetime('now') WHERE InvoiceId % 9 = 0")
    assert worlds[0].digest() == worlds[1].digest()
