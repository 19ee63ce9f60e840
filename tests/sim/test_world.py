"""Runs of the whole simulator: the same seed is the same run, and sound code passes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raftzmq.checker.invariants import Invariants, Violation
from raftzmq.cli import exit_codes
from raftzmq.cli.main import app
from raftzmq.errors import StorageDamaged
from raftzmq.node.pace import OWED_TICKS_MAX
from raftzmq.raft.messages import VoteResponse
from raftzmq.raft.types import EntryKind
from raftzmq.replica import persist
from raftzmq.sim.campaign import campaign
from raftzmq.sim.chance import Chance
from raftzmq.sim.faults import KINDS, leads, plan
from raftzmq.sim.host import SimHost
from raftzmq.sim.network import Network, Parcel
from raftzmq.sim.run import Result, Verdict, _recover, run
from raftzmq.sim.shrink import shrink
from raftzmq.sim.trace import Trace
from raftzmq.sim.world import Options, World, temporary_root
from raftzmq.wire.peer import decode_peer

SHORT = 1_200
FIXED = (1, 2, 3, 100)
FRESH = 3
LONG_LOG_SEED = 2
PINNED_CHANCE = ([730, 830, 629, 933, 695], 7102260324912332839, 7)


def replay(seed: int, *, hash_seed: str) -> str:
    """The hash of a run in a process of its own."""
    code = (
        "from raftzmq.sim.run import run; from raftzmq.sim.world import Options;"
        f"print(run(Options({seed}, steps={SHORT})).hash)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return found.stdout.strip()


def test_a_vote_counts_from_when_its_message_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the node may lose its power, and the vote that it was writing down (seed 4346)."""
    counted: list[int] = []
    left: list[int] = []
    send = Network.send

    def seen(network: Network, parcel: Parcel, *, peers: bool = False) -> None:
        if peers:
            _, message = decode_peer(parcel.frames[0])
            if isinstance(message, VoteResponse) and message.granted:
                left.append(parcel.leaves)
        send(network, parcel, peers=peers)

    monkeypatch.setattr(Network, "send", seen)
    monkeypatch.setattr(Invariants, "vote_sent", lambda *said: counted.append(said[-1]))
    run(Options(2, steps=SHORT))
    assert counted
    assert counted == left


def test_the_same_seed_is_the_same_run_in_every_process() -> None:
    first = replay(2, hash_seed="1")
    assert first == replay(2, hash_seed="2")
    assert first == run(Options(2, steps=SHORT)).hash
    assert first != run(Options(3, steps=SHORT)).hash


def test_chance_is_the_same_on_every_python() -> None:
    chance = Chance(7, "stream")
    drawn = [chance.below(1000) for _ in range(5)], chance.bits(64), chance.between(5, 9)
    assert drawn == PINNED_CHANCE
    assert Chance(7, "other").bits(64) != Chance(7, "stream").bits(64)


def test_the_plan_of_a_seed_does_not_depend_on_what_happens() -> None:
    first = plan(5, tuple(KINDS), 200_000)
    again = plan(5, tuple(KINDS), 200_000)
    assert [next(first) for _ in range(50)] == [next(again) for _ in range(50)]


def _all_good(results: Sequence[Result]) -> None:
    for result in results:
        assert result.verdict is Verdict.GOOD, (result.options.seed, result.name, result.detail)


def test_fixed_and_fresh_seeds_pass_and_things_happen(capsys: pytest.CaptureFixture[str]) -> None:
    fresh = [int.from_bytes(os.urandom(4), "big") for _ in range(FRESH)]
    with capsys.disabled():
        print(f"\nfresh seeds of the simulator: {fresh}")
    results = [run(Options(seed)) for seed in (*FIXED, *fresh)]
    _all_good(results)
    done: Counter[str] = Counter()
    fired: Counter[str] = Counter()
    for result in results:
        done.update(result.done)
        fired.update(result.counts.faults)
    assert sum(done.values()) >= 20 * len(results), f"too little traffic: {done}"
    assert {"write", "read", "append", "add", "transfer"} <= done.keys()
    assert sum(fired.values()) >= 5 * len(results), f"too few faults: {fired}"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_of_fault_fires_and_is_survived(kind: str) -> None:
    """Alone, so that a kind that finds nothing to break is noticed."""
    for seed in range(1, 9):
        result = run(Options(seed, steps=1_500, kinds=(kind,)))
        _all_good([result])
        if result.counts.faults.get(kind):
            return
    raise AssertionError(f"{kind} never fired in eight seeds")


def test_five_nodes() -> None:
    _all_good([run(Options(seed, nodes=5, steps=SHORT)) for seed in (1, 2)])


def test_without_faults_nothing_fails() -> None:
    result = run(Options(4, steps=SHORT, kinds=()))
    _all_good([result])
    assert result.counts.faults == {}
    assert not result.failed.get("UNKNOWN")


def _no_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation "vote not persisted", in this process."""
    save = SimHost.__dict__["start"]

    def start(host: SimHost) -> None:
        save(host)
        store = host.store
        whole = store.save
        store.save = lambda hard, entries: whole(  # type: ignore[method-assign]
            hard and hard._replace(voted_for=None), entries
        )

    monkeypatch.setattr(SimHost, "start", start)


def test_a_broken_rule_is_found_named_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    _no_votes(monkeypatch)
    tally = campaign(Options(0), range(1, 5), workers=1)
    failed = tally.failed
    assert failed is not None
    assert (failed.verdict, failed.name) == (Verdict.SAFETY, "persist-before-send")
    small = shrink(failed)
    assert small.name == failed.name
    assert small.options.steps <= failed.steps
    assert run(small.options).hash == small.hash, "the smaller run replays"


def test_sending_before_the_disk_has_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out = persist.carry_out

    def hasty(raft, store, send, unsaved=None):  # type: ignore[no-untyped-def]
        class Hasty:
            def ready(self):  # type: ignore[no-untyped-def]
                ready = raft.ready()
                if ready is None:
                    return None
                send(ready.messages_after_persist)
                return replace(ready, messages_after_persist=())

            def __getattr__(self, name: str) -> object:
                return getattr(raft, name)

        return carry_out(Hasty(), store, send, unsaved)  # type: ignore[arg-type]

    monkeypatch.setattr("raftzmq.replica.replica.carry_out", hasty)
    result = run(Options(1))
    assert (result.verdict, result.name) == (Verdict.SAFETY, "persist-before-send")


def test_a_cluster_that_does_not_come_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftzmq.raft.election.tick", lambda state: None)
    monkeypatch.setattr("raftzmq.sim.run.RECOVER_US", 3_000_000)
    result = run(Options(1, steps=500))
    assert result.verdict is Verdict.LIVENESS


def test_a_folder_that_a_crash_alone_damaged_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(Options(1), tmp_path, Trace())

    def damaged(host: SimHost) -> None:
        raise StorageDamaged("made up")

    monkeypatch.setattr(SimHost, "start", damaged)
    with pytest.raises(Violation) as caught:
        world._start_node(world.hosts["n1"])
    assert caught.value.name == "sound-after-crash"
    world.hosts["n1"].damaged = ""
    world.hosts["n1"].rotten = True
    world._start_node(world.hosts["n1"])


def test_the_command_line_replays_and_says_what_is_wrong_with_it() -> None:
    found = CliRunner().invoke(app, ["sim", "--seed", "2", "--steps", str(SHORT)])
    assert found.exit_code == 0, found.output
    assert run(Options(2, steps=SHORT)).hash in found.output
    for wrong in (
        ["--seeds", "5..1"],
        ["--seed", "1", "--faults", "gremlins"],
        ["--seed", "1", "--seeds", "1..2"],
        ["--seeds", "1..2", "--trace"],
        ["--seeds", "1..2", "--workers", "-1"],
        [],
    ):
        assert CliRunner().invoke(app, ["sim", *wrong]).exit_code == exit_codes.USAGE


def test_the_command_line_names_what_was_violated(monkeypatch: pytest.MonkeyPatch) -> None:
    _no_votes(monkeypatch)
    found = CliRunner().invoke(
        app, ["sim", "--seeds", "1..2", "--workers", "1", "--budget-seconds", "60", "--no-shrink"]
    )
    assert found.exit_code == exit_codes.SIM_SAFETY
    assert "SAFETY persist-before-send" in found.output
    assert "replay: raftzmq sim --seed" in found.output


def test_exit_codes_tell_the_verdicts_apart() -> None:
    codes = (exit_codes.SIM_CRASH, exit_codes.SIM_LIVENESS, exit_codes.SIM_SAFETY)
    assert codes == (101, 102, 103)


def test_entries_of_every_kind_are_watched() -> None:
    """The content that log matching compares includes the kind of an entry."""
    with temporary_root() as root:
        world = World(Options(1), Path(root), Trace())
        world.begin()
        while not world.invariants.committed:
            world.step()
        kind, _ = world.invariants.committed[0].content  # type: ignore[misc]
        assert kind is EntryKind.NOOP
        world.close()


def _ready_world(root: Path) -> tuple[World, SimHost, SimHost, SimHost]:
    """A cluster that serves: the leader, and two others that know all that it committed."""
    world = World(Options(LONG_LOG_SEED, kinds=(), quiet=True), root, Trace(None))
    assert world.config.limits.log_bytes_max == 1 << 20, "nothing is compacted"
    world.begin()
    while world.schedule.now < 2_000_000 or world.unsettled():
        world.step()
    leader = world.leader()
    assert leader is not None
    first, second = (host for host in world.hosts.values() if host is not leader)
    return world, leader, first, second


def test_a_disk_is_lost_while_a_quarantined_node_alone_holds_the_last_entries(
    tmp_path: Path,
) -> None:
    """Then it has to lead, or nobody does (decision 005)."""
    world, leader, quarantined, behind = _ready_world(tmp_path)
    for other in (leader, quarantined):
        world.network.cut(behind.name, other.name)
        world.network.cut(other.name, behind.name)
    last = behind.store.last_index
    while leader.replica.raft.commit_index < last + 3:
        world.step()
    quarantined.replica.damaged("made up")
    world.stop_node(leader, power=False, back_in=10_000, why="stopped")
    world.wipe(leader)
    world.network.heal()
    while not leads(quarantined):
        assert world.schedule.now < 60_000_000
        world.step()
    _recover(world)
    world.judge_end()
    assert not leads(quarantined) or quarantined.equality.mark is None
    world.close()


def test_no_disk_is_lost_beside_a_newcomer_or_wrong_content_that_may_spread(
    tmp_path: Path,
) -> None:
    world, leader, first, second = _ready_world(tmp_path)
    assert world.may_forget(first)
    world._newcomers.add(second.name)
    assert world.may_forget(second)
    assert not world.may_forget(first), "the newcomer may take itself for one that forgot"
    world._newcomers.clear()
    assert world.tamper(second, 7)
    assert not world.may_forget(first), "a snapshot of it may be all that comes back"
    assert leader.replica.equality.propose() is not None
    while second.equality.mark is None or second.name not in world._quarantined:
        world.step()
    assert world.may_forget(first)
    first.replica.raft._state.commit_index = second.replica.raft.commit_index - 1
    assert not world.may_forget(leader), "only the quarantined one knows of the last commit"
    world.close()


def test_a_paused_node_owes_a_few_ticks_only(tmp_path: Path) -> None:
    """Else what it slept through would look like silence of the others, and start an election."""
    world, _, first, _ = _ready_world(tmp_path)
    first.paused = True
    until = world.schedule.now + 1_000_000
    while world.schedule.now < until:
        world.step()
    assert first.inbox.ticks == OWED_TICKS_MAX
    world.close()
