"""Some seconds of scripts/fuzz.sh with fixed seeds, and every input that once failed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from raftzmq.config import parse
from raftzmq.errors import ConfigError
from tests.hostile.fuzz.__main__ import shortened
from tests.hostile.fuzz.targets import TARGETS, Input, Target

INPUTS = {"peer": 150, "client": 100, "broker": 150, "config": 330}
KEPT = sorted((Path(__file__).parent / "fuzz" / "kept").glob("*.json"))


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_seconds_of_each(name: str) -> None:
    for number in range(INPUTS[name]):
        steps = TARGETS[name].make(random.Random(f"ci/{name}/{number}"))
        assert json.loads(json.dumps(steps)) == steps, "can be kept in a file"
        TARGETS[name].play(steps)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_once_failed(path: Path) -> None:
    kept = json.loads(path.read_text())
    TARGETS[kept["target"]].play(kept["steps"])


def test_the_inputs_reach_what_lies_behind_the_checks() -> None:
    """Spoilt files that are all refused at the first line would prove little."""
    refused = accepted = 0
    for number in range(INPUTS["config"]):
        for kind, content in TARGETS["config"].make(random.Random(f"ci/config/{number}")):
            if kind == "text":
                try:
                    parse(content)
                    accepted += 1
                except ConfigError as error:
                    refused += "not valid TOML" not in str(error)
    assert accepted >= 20
    assert refused >= 20


def test_a_failing_input_is_cut_down_to_what_fails() -> None:
    def play(steps: Input) -> None:
        if ["bad"] in steps:
            raise ValueError("bad")

    steps: Input = [["a"], ["bad"], ["b"]]
    assert shortened(Target(lambda rng: steps, play), steps, ValueError) == [["bad"]]
