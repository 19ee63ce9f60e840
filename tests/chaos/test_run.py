"""A run goes on: over faults that must wait, faults that wait for each other, and crashes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from raftzmq.chaos import run as running
from raftzmq.chaos.cluster import Wish
from raftzmq.chaos.processes import Ending
from raftzmq.chaos.schedule import Planned
from raftzmq.chaos.trouble import ChaosError, NotNow
from raftzmq.checker.history import Operation, to_line


class Clock:
    """Time passes only where somebody sleeps."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Fault:
    """Does what it was told when it is injected."""

    stays = False

    def __init__(self, planned: Planned, act: Callable[[Planned], None], whole: bool) -> None:
        self.planned = planned
        self._act = act
        self.wants_whole = whole
        self.target = ""
        self.detail = ""
        self.fired = False
        self.healed = 0

    def inject(self) -> None:
        self._act(self.planned)
        self.fired = True

    def heal(self) -> None:
        self.healed += 1
        if self.stays:
            raise ChaosError("it is not whole again")

    def look(self) -> None:
        pass

    def note(self, text: str) -> None:
        self.detail += text


class Scene:
    """A run without a cluster."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, planned: Sequence[Planned]) -> None:
        self.clock = Clock()
        self.acts: dict[str, Callable[[Planned], None]] = {}
        self.mild: set[str] = set()
        self.made: list[Fault] = []
        self.endings: list[Ending] = []
        self.started: list[str] = []
        self.said: list[str] = []
        monkeypatch.setattr(running, "time", self.clock)
        monkeypatch.setattr(running, "make", self._make)
        order = running.Order(
            command="",
            seed=1,
            seconds=10.0,
            kinds=tuple({each.kind for each in planned}),
            wish=Wish(),
            folder=Path("/nonexistent"),
        )
        run = running._Running(order, planned, self.said.append)
        self.run = cast(Any, run)  # parts of it are replaced by made-up ones
        self.run._began_s = self.clock.now
        self.run._next_word_s = 1e9
        self.run._load = SimpleNamespace(check=lambda: None, counts={})
        self.run._cluster = SimpleNamespace(
            network=None,
            stand=SimpleNamespace(wait_until_whole=lambda: None),
            processes=SimpleNamespace(
                endings=self.endings, note_ends=self._note_ends, start=self.started.append
            ),
        )
        self.due: list[Ending] = []

    def _make(self, _: object, planned: Planned) -> Fault:
        act = self.acts.get(planned.kind, lambda _: None)
        self.made.append(Fault(planned, act, planned.kind not in self.mild))
        return self.made[-1]

    def _note_ends(self, _: float) -> list[Ending]:
        new, self.due = self.due, []
        self.endings += new
        return new


def at(kind: str, at_s: float, for_s: float = 1.0) -> Planned:
    return Planned(kind=kind, at_s=at_s, for_s=for_s, lead=False, choice=0, numbers={})


def test_a_fault_that_is_not_allowed_now_is_tried_on_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, [at("wipe-node", 1.0)])

    def first_is_needed(planned: Planned) -> None:
        if planned.choice == 0:
            raise NotNow("n1 holds what nobody else does")

    scene.acts["wipe-node"] = first_is_needed
    scene.run._inject_all()
    assert [(each.kind, each.fired) for each in scene.run._faults] == [("wipe-node", True)]
    assert scene.run._put_off == []
    assert all(each.healed for each in scene.made), "what it may have done was not taken back"


def test_one_that_is_never_allowed_is_no_fault_of_the_run_but_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, [at("wipe-node", 1.0), at("pause", 3.0), at("pause", 6.0)])

    def needed(_: Planned) -> None:
        raise NotNow("needed")

    scene.acts["wipe-node"] = needed
    scene.run._inject_all()
    assert [each.kind for each in scene.run._faults] == ["pause", "pause"]
    assert len(scene.run._put_off) == 2, "a kind that never came gets another chance at the end"
    assert "wipe-node" in scene.run._put_off[0]


def test_one_that_fails_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [at("fsync-error", 1.0)])

    def ignored(_: Planned) -> None:
        raise ChaosError("n1 goes on after a failed fsync")

    scene.acts["fsync-error"] = ignored
    scene.run._inject_all()
    (only,) = scene.run._faults
    assert not only.fired
    assert "goes on" in only.detail
    assert len(scene.made) == 1


def test_a_fault_ends_in_time_while_another_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else both wait for ever: the one for a leader that the other, which is over, withholds."""
    scene = Scene(monkeypatch, [at("kill-leader", 1.0, 1.0), at("clock-jump", 1.5, 1.0)])
    scene.mild.add("clock-jump")

    def waits_for_a_leader(_: Planned) -> None:
        killed = scene.made[0]
        for _look in range(100):
            if killed.healed:
                return
            scene.run._pause(0.1)
        raise ChaosError("no leader")

    scene.acts["clock-jump"] = waits_for_a_leader
    scene.run._inject_all()
    assert [(each.kind, each.fired) for each in scene.run._faults] == [
        ("kill-leader", True),
        ("clock-jump", True),
    ]
    assert scene.run._faults[0].until_s == pytest.approx(2.0, abs=0.2)


def test_who_crashes_is_started_again_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [at("pause", 1.0)])
    for number in range(5):
        scene.due = [Ending("n2", float(number), 70, "broken invariant")]
        scene.run._note_ends()
    assert scene.started == ["n2"] * 3
    assert len([line for line in scene.said if "ENDED UNASKED" in line]) == 5


def test_a_system_call_that_fails_fails_the_fault_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process that a signal was meant for may have ended a moment ago."""
    scene = Scene(monkeypatch, [at("pause", 1.0), at("kill-leader", 4.0)])

    def gone(_: Planned) -> None:
        raise ProcessLookupError(3, "No such process")

    scene.acts["pause"] = gone
    scene.run._inject_all()
    assert [(each.kind, each.fired) for each in scene.run._faults] == [
        ("pause", False),
        ("kill-leader", True),
    ]


def test_a_history_that_was_cut_short_is_judged_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene = Scene(monkeypatch, [at("pause", 1.0)])
    scene.run._order = replace(scene.run._order, folder=tmp_path)
    one = Operation("c1", "read", "k", None, None, "v", 1, 2, True)
    line = to_line(one)
    (tmp_path / "history-register.jsonl").write_text(line + "\n" + line[:20])
    assert scene.run._history("register") == [one]
    assert scene.run._history("append") == []
    assert len(scene.run._trouble) == 2


def test_a_fault_that_cannot_be_taken_back_fails_the_run_and_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, [at("wipe-node", 1.0), at("pause", 4.0)])

    def begun(_: Planned) -> None:
        scene.made[-1].stays = True
        raise NotNow("somebody starts it again")

    scene.acts["wipe-node"] = begun
    scene.run._inject_all()
    assert [each.kind for each in scene.run._faults] == ["pause"]
    assert "wipe-node: it is not whole again" in scene.run._trouble
