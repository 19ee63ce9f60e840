"""Replicas that are closed when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftzmq.statemachine.bounds import ApplyLimits
from tests.statemachine.world import World

MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    made: list[World] = []

    def make(limits: ApplyLimits | None = None) -> World:
        folder = tmp_path / f"replica{len(made)}"
        folder.mkdir()
        made.append(World(folder, limits))
        return made[-1]

    yield make
    for world in made:
        world.machine.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()
