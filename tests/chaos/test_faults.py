"""Faults whose evidence may come late or elsewhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from raftzmq.chaos.faults import fault as faults
from raftzmq.chaos.faults.catalogue import make
from raftzmq.chaos.faults.fault import Fault
from raftzmq.chaos.links import Counts
from raftzmq.chaos.schedule import Planned


class Switch:
    """Touches a packet after some looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.on: dict[str, Counts] = {}

    def set(self, name: str, _links: object, _rule: object) -> None:
        self.on[name] = Counts()

    def counts(self) -> dict[str, Counts]:
        self.looks -= 1
        if self.looks <= 0:
            for counts in self.on.values():
                counts.seen, counts.dropped = 1, 1
        return self.on

    def clear(self, name: str) -> dict[str, Counts]:
        return {name: self.on.pop(name)}


def stand(switch: Switch, sleep: Any, statuses: dict[str, str]) -> Any:
    nodes = ("n1", "n2", "n3")
    return SimpleNamespace(
        nodes=nodes,
        seats=nodes,
        proxies=(),
        switch=lambda: switch,
        sleep=sleep,
        leader=lambda: SimpleNamespace(node="n1", term=1),
        look=lambda: {name: SimpleNamespace(leader=of) for name, of in statuses.items()},
    )


def planned(kind: str, choice: int = 0) -> Planned:
    return Planned(kind=kind, at_s=0, for_s=1, lead=False, choice=choice, numbers={})


WELL = {"n1": "n1", "n2": "n1", "n3": "n1"}


def test_a_cut_goes_on_until_it_dropped_something() -> None:
    switch = Switch(looks=3)
    fault = make(stand(switch, lambda _: None, WELL), planned("partition-bridge"))
    fault.inject()
    fault.heal()
    assert fault.fired
    assert switch.on == {}


def test_a_cut_that_never_dropped_anything_has_not_fired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_EVIDENCE_S", 0.0)
    switch = Switch(looks=1_000)
    fault = make(stand(switch, lambda _: None, WELL), planned("partition-full"))
    fault.inject()
    fault.heal()
    assert not fault.fired
    assert switch.on == {}


def test_a_cut_is_taken_back_though_the_wait_for_evidence_is_interrupted() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    switch = Switch(looks=1_000)
    fault = make(stand(switch, interrupted, WELL), planned("partition-full"))
    fault.inject()
    with pytest.raises(KeyboardInterrupt):
        fault.heal()
    assert switch.on == {}


class _Mild(Fault):
    wants_whole = False

    def inject(self) -> None:
        self.target = self.pick_node()

    def heal(self) -> None:
        pass


@pytest.mark.parametrize("choice", range(4))
@pytest.mark.parametrize(
    "statuses", [{"n1": "n1", "n3": "n1"}, {"n1": "n1", "n2": "", "n3": "n1"}], ids=["down", "cut"]
)
def test_a_mild_fault_does_not_hit_the_victim_of_another(
    choice: int, statuses: dict[str, str]
) -> None:
    fault = _Mild(stand(Switch(0), lambda _: None, statuses), planned("slow-disk", choice))
    fault.inject()
    assert fault.target == "n3"
