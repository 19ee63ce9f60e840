"""Who is believed to be whom: nodes in memory that greet each other, with disks that forget."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from raftzmq.raft.raft import Raft
from raftzmq.raft.state import RaftConfig
from raftzmq.raft.types import Configuration, Entry, EntryKind, HardState, Standing
from raftzmq.replica.admission import ALL_ANSWERS_TICKS, REPEAT_TICKS, Admission
from raftzmq.storage.contract import Identity, Memory
from raftzmq.storage.memory_log import MemoryLogStore
from raftzmq.wire.greeting import Challenge, GreetingMessage, Hello, Welcome
from raftzmq.wire.peer import Envelope

NAMES = ("n1", "n2", "n3")


def boot(starts: int, chance: int) -> int:
    return starts << 32 | chance


class Host:
    """One node's admission, its core, and what its folder would hold."""

    def __init__(self, name: str, names: tuple[str, ...] = NAMES) -> None:
        self.name = name
        self.names = names
        self.incarnation = hash(name) & 0xFFFF
        self.starts = 0
        self.lives: tuple[int, ...] = ()
        self.chance = 0
        """Stands for the random half of a boot id: no two starts have the same."""
        self.store = MemoryLogStore()
        self.applied = 0
        self.start()

    def start(self) -> None:
        held = self.store.load()
        self.starts += 1
        self.chance += 1
        earlier = self.lives
        self.lives = (boot(self.starts, self.chance), *earlier)
        self.raft = Raft(
            RaftConfig(node=self.name, configuration=Configuration(voters=frozenset(self.names))),
            hard_state=held.hard_state,
            base=held.base,
            entries=held.entries,
            applied_index=self.applied,
            rng=random.Random(1),
            standing=Standing.RECOVERING if held.recovering else Standing.UNKNOWN,
        )
        self.admission = Admission(
            raft=self.raft,
            store=self.store,
            identities=dict(held.identities),
            incarnation=self.incarnation,
            boot=boot(self.starts, self.chance),
            lives=earlier,
            empty=held.hard_state.term == 0,
            forgot=held.memory is not Memory.WHOLE,
            next_boot=self.raise_boot,
            rng=random.Random(self.name),
        )

    def raise_boot(self, known: int) -> int:
        self.starts = max(self.starts, known >> 32) + 1
        self.lives = (boot(self.starts, self.chance), known, *self.lives)
        return self.lives[0]

    def fill(self) -> None:
        """Give the disk a log, part of it applied, as after some life in a cluster."""
        self.store.save(HardState(3, None), [Entry(1, 3, EntryKind.NOOP, b"")])
        self.applied = 1
        self.start()

    def wipe(self) -> None:
        self.store = MemoryLogStore()
        self.applied = self.starts = 0
        self.lives = ()
        self.incarnation += 0x10000
        self.start()

    def prove(self) -> None:
        """It holds all it may have promised; how that comes about, tests/raft shows."""
        self.raft._state.standing = Standing.MEMBER
        self.store.save(HardState(3, None), [Entry(1, 3, EntryKind.NOOP, b"")])
        self.store.set_recovering(False)

    @property
    def envelope(self) -> Envelope:
        return Envelope("c", self.name, self.admission.boot)

    @property
    def standing(self) -> Standing:
        return self.raft.standing


def sent(answer: list[GreetingMessage] | str) -> list[GreetingMessage]:
    """The messages of an answer that was no refusal."""
    assert not isinstance(answer, str), answer
    return answer


class World:
    """Delivers greetings among hosts; a host in ``down`` hears and says nothing."""

    def __init__(self, names: tuple[str, ...] = NAMES) -> None:
        self.hosts = {name: Host(name, names) for name in names}
        self.down: set[str] = set()

    def ticks(self, count: int = REPEAT_TICKS) -> None:
        for _ in range(count):
            for host in self.hosts.values():
                if host.name not in self.down:
                    self.deliver(host, host.admission.tick())

    def deliver(self, sender: Host, messages: list[Hello] | list[GreetingMessage] | str) -> None:
        for message in [] if isinstance(messages, str) else messages:
            receiver = self.hosts[message.receiver]
            if receiver.name not in self.down:
                self.deliver(receiver, receiver.admission.receive(message, sender.envelope))

    def settle(self) -> None:
        """Let all of them meet, with disks that hold something."""
        self.ticks()
        for host in self.hosts.values():
            host.fill()
        self.ticks(2 * REPEAT_TICKS)
        assert {host.standing for host in self.hosts.values()} == {Standing.MEMBER}

    def greet(self, name: str, peer: str) -> list[GreetingMessage]:
        """``name`` says hello to ``peer`` and meets its challenge; nobody delivers the answers."""
        host, other = self.hosts[name], self.hosts[peer]
        (hello,) = host.admission.connected(peer)
        answers = sent(other.admission.receive(hello, host.envelope))
        if isinstance(answers[0], Challenge):
            (again,) = sent(host.admission.receive(answers[0], other.envelope))
            answers = sent(other.admission.receive(again, host.envelope))
        return answers

    def standing(self, name: str) -> Standing:
        return self.hosts[name].standing


def test_new_nodes_meet_and_become_members() -> None:
    world = World()
    assert world.standing("n1") is Standing.UNKNOWN
    world.ticks()
    assert {host.standing for host in world.hosts.values()} == {Standing.MEMBER}


def test_one_node_alone_needs_nobody() -> None:
    assert World(("n1",)).standing("n1") is Standing.MEMBER


def test_new_nodes_wait_for_all_before_a_majority_will_do() -> None:
    world = World()
    world.down = {"n3"}
    world.ticks(ALL_ANSWERS_TICKS - 1)
    assert world.standing("n1") is Standing.UNKNOWN
    world.ticks(1)
    assert world.standing("n1") is Standing.MEMBER


def test_a_minority_of_answers_is_not_enough() -> None:
    world = World(("n1", "n2", "n3", "n4", "n5"))
    world.settle()
    world.down = {"n3", "n4", "n5"}
    world.hosts["n1"].start()
    world.ticks(10 * ALL_ANSWERS_TICKS)
    assert world.standing("n1") is Standing.UNKNOWN
    world.down = {"n4", "n5"}
    world.ticks()
    assert world.standing("n1") is Standing.MEMBER


def test_a_restart_needs_no_more_than_a_majority() -> None:
    world = World()
    world.settle()
    world.down = {"n3"}
    world.hosts["n1"].start()
    world.ticks()
    assert world.standing("n1") is Standing.MEMBER


def test_a_restart_of_all() -> None:
    world = World()
    world.settle()
    for host in world.hosts.values():
        host.start()
    world.ticks(2 * REPEAT_TICKS)
    assert {host.standing for host in world.hosts.values()} == {Standing.MEMBER}


@pytest.mark.parametrize("down", [set(), {"n2"}, {"n3"}])
def test_a_wiped_node_is_found_by_any_peer_that_met_it(down: set[str]) -> None:
    world = World()
    world.settle()
    world.down = down
    world.hosts["n1"].wipe()
    world.ticks(2 * REPEAT_TICKS)
    assert world.standing("n1") is Standing.RECOVERING
    assert world.hosts["n1"].store.load().recovering, "a restart would make it forget again"
    for peer in {"n2", "n3"} - down:
        envelope = world.hosts["n1"].envelope
        assert world.hosts[peer].admission.objection(envelope) is None


def test_peers_remember_over_their_own_restart() -> None:
    world = World()
    world.settle()
    world.hosts["n1"].wipe()
    for name in ("n2", "n3"):
        world.hosts[name].start()
    world.ticks(3 * REPEAT_TICKS)
    assert world.standing("n1") is Standing.RECOVERING
    assert world.standing("n2") is world.standing("n3") is Standing.MEMBER


def test_a_wiped_node_that_no_peer_ever_met_is_found_by_its_empty_disk() -> None:
    world = World()
    world.down = {"n3"}
    world.ticks(ALL_ANSWERS_TICKS)
    for name in ("n1", "n2"):
        world.hosts[name].fill()
    world.ticks(2 * REPEAT_TICKS)
    world.down = set()
    world.hosts["n3"].wipe()
    world.ticks(2 * REPEAT_TICKS)
    assert world.standing("n3") is Standing.RECOVERING


def test_an_older_copy_of_the_disk_is_found_by_its_count_of_starts() -> None:
    world = World()
    world.settle()
    host = world.hosts["n1"]
    starts = host.starts
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    host.starts = starts - 1  # the copy was made before the last two starts
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    assert host.standing is Standing.RECOVERING
    assert host.starts == starts + 2, "from now on it counts on from what its peers know"


def test_an_older_copy_that_was_started_more_often_is_found_by_its_lives() -> None:
    """Simulator seed 3465: it was set back, died before it had greeted anybody, and came again."""
    world = World()
    world.settle()
    host = world.hosts["n1"]
    starts, lives = host.starts, host.lives
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    host.starts, host.lives = starts, lives  # the copy was made before the last start
    for _ in range(3):
        host.start()
    world.ticks(2 * REPEAT_TICKS)
    assert host.standing is Standing.RECOVERING


def test_an_older_copy_of_a_folder_that_had_forgotten_before_is_found_too() -> None:
    """That it forgot once excuses other folders, and no other life of this one."""
    world = World()
    world.settle()
    host = world.hosts["n1"]
    host.wipe()
    world.ticks(2 * REPEAT_TICKS)
    host.prove()
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    assert host.standing is Standing.MEMBER
    starts, lives = host.starts, host.lives
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    host.starts, host.lives = starts, lives
    for _ in range(3):
        host.start()
    world.ticks(2 * REPEAT_TICKS)
    assert host.standing is Standing.RECOVERING


def test_a_peer_that_was_away_does_not_condemn_a_set_back_node_again() -> None:
    world = World()
    world.settle()
    host = world.hosts["n1"]
    starts, lives = host.starts, host.lives
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    world.down = {"n3"}
    host.starts, host.lives = starts, lives
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    assert host.standing is Standing.RECOVERING
    host.prove()
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    world.down = set()
    world.ticks(2 * REPEAT_TICKS)
    assert host.standing is Standing.MEMBER
    assert world.hosts["n3"].admission.objection(host.envelope) is None


def test_many_starts_while_a_peer_is_away_are_no_older_copy() -> None:
    world = World()
    world.settle()
    world.down = {"n3"}
    for _ in range(20):
        world.hosts["n1"].start()
        world.ticks(2 * REPEAT_TICKS)
    world.down = set()
    world.ticks(2 * REPEAT_TICKS)
    assert world.standing("n1") is Standing.MEMBER
    envelope = world.hosts["n1"].envelope
    assert world.hosts["n3"].admission.objection(envelope) is None


def test_a_folder_that_names_no_life_is_judged_by_its_count_of_starts() -> None:
    """It was started by a version that kept none."""
    world = World()
    world.settle()
    host = world.hosts["n1"]
    host.lives = ()
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    assert host.standing is Standing.MEMBER


def test_as_many_starts_but_another_life_is_an_older_copy_too() -> None:
    world = World()
    world.settle()
    host = world.hosts["n1"]
    peer = world.hosts["n2"]
    other = Envelope("c", "n1", boot(host.starts, chance=99))
    hello = Hello(
        sender="n1",
        receiver="n2",
        term=0,
        incarnation=host.incarnation,
        recovering=False,
        forgot=False,
        echo=0,
        lives=b"",
    )
    (challenge,) = sent(peer.admission.receive(hello, other))
    assert isinstance(challenge, Challenge)
    (welcome,) = sent(peer.admission.receive(replace(hello, echo=challenge.number), other))
    assert isinstance(welcome, Welcome)
    assert not welcome.known
    assert peer.admission.objection(other) == "another life of the sender"
    assert peer.admission.objection(host.envelope) is None


def test_recovering_lasts_over_a_restart() -> None:
    world = World()
    world.settle()
    host = world.hosts["n1"]
    host.wipe()
    world.ticks(2 * REPEAT_TICKS)
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    assert host.standing is Standing.RECOVERING


def test_messages_of_an_earlier_life_are_refused() -> None:
    world = World()
    world.settle()
    before = world.hosts["n1"].envelope
    world.hosts["n1"].start()
    world.ticks(2 * REPEAT_TICKS)
    assert world.hosts["n2"].admission.objection(before) == "another life of the sender"
    assert world.hosts["n2"].admission.objection(world.hosts["n1"].envelope) is None


def test_a_peer_that_does_not_know_this_life_yet_is_not_listened_to() -> None:
    world = World()
    world.settle()
    world.hosts["n1"].start()
    objection = world.hosts["n1"].admission.objection(world.hosts["n2"].envelope)
    assert objection == "the sender knows another life of this node"
    world.ticks()
    assert world.hosts["n1"].admission.objection(world.hosts["n2"].envelope) is None


def test_an_answer_to_an_earlier_life_means_nothing() -> None:
    world = World()
    world.settle()
    host, peer = world.hosts["n1"], world.hosts["n2"]
    host.start()
    answers = world.greet("n1", "n2")
    host.start()
    for answer in answers:
        host.admission.receive(answer, peer.envelope)
    assert host.admission.objection(peer.envelope) is not None


def test_a_leader_is_told_that_a_peer_was_started_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.settle()
    told: list[str] = []
    monkeypatch.setattr(Raft, "peer_restarted", lambda core, peer: told.append(core.node + peer))
    world.hosts["n1"].start()
    world.ticks(2 * REPEAT_TICKS)
    assert sorted(told) == ["n2n1", "n3n1"]


def test_a_life_is_durable_before_it_is_welcomed() -> None:
    world = World()
    host, peer = world.hosts["n1"], world.hosts["n2"]
    peer.store.fail_next("disk is gone")
    with pytest.raises(Exception, match="disk is gone"):
        world.greet("n1", "n2")
    peer.start()
    world.greet("n1", "n2")
    known = dict(peer.store.load().identities)
    assert known["n1"] == Identity(host.incarnation, host.admission.boot)


def test_a_member_that_hears_late_of_a_later_life_recovers() -> None:
    world = World()
    world.settle()
    host = world.hosts["n1"]
    world.down = {"n2"}
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    host.starts -= 1
    world.down = {"n3"}
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    assert world.standing("n1") is Standing.MEMBER, "n2 cannot know better"
    world.down = set()
    world.ticks(2 * REPEAT_TICKS)
    assert host.standing is Standing.RECOVERING


def test_another_folder_that_was_started_more_often_is_found_by_its_incarnation() -> None:
    world = World()
    world.settle()
    host = world.hosts["n1"]
    host.wipe()
    host.starts = 50
    host.fill()
    world.ticks(2 * REPEAT_TICKS)
    assert host.standing is Standing.RECOVERING
    assert host.starts == 52
    assert boot(2, 2) in host.lives, "it owns up to the life that they know"


def test_who_starts_over_is_welcomed_anew_before_it_listens() -> None:
    world = World()
    world.settle()
    host = world.hosts["n1"]
    world.down = {"n2"}
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    host.starts -= 1
    world.down = {"n3"}
    host.start()
    world.ticks(2 * REPEAT_TICKS)
    assert host.admission.objection(world.hosts["n2"].envelope) is None
    for answer in world.greet("n1", "n3"):
        host.admission.receive(answer, world.hosts["n3"].envelope)
    assert host.standing is Standing.RECOVERING
    assert host.admission.objection(world.hosts["n2"].envelope) is not None


def test_a_lost_greeting_to_a_wiped_peer_is_repeated() -> None:
    world = World()
    world.settle()
    host, peer = world.hosts["n1"], world.hosts["n2"]
    host.wipe()
    host.starts = 50
    host.fill()
    host.raft.recover("as its disk says")
    world.greet("n1", "n2")  # the answers are lost
    world.down = {"n3"}
    world.ticks(2 * REPEAT_TICKS)
    assert host.admission.objection(peer.envelope) is None


def test_nobody_can_make_a_node_look_restarted_from_elsewhere() -> None:
    world = World()
    world.settle()
    host, peer = world.hosts["n1"], world.hosts["n2"]
    forged = Envelope("c", "n1", boot((1 << 32) - 1, 1))
    hello = Hello(
        sender="n1",
        receiver="n2",
        term=0,
        incarnation=5,
        recovering=True,
        forgot=True,
        echo=0,
        lives=b"",
    )
    (answer,) = sent(peer.admission.receive(hello, forged))
    assert isinstance(answer, Challenge), "it goes to n1, which did not ask"
    why = "an answer to another life of this node"
    assert host.admission.receive(answer, peer.envelope) == why
    for echo in (1, (1 << 64) - 1):
        guess = replace(hello, echo=echo)
        assert peer.admission.receive(guess, forged) == "a greeting with a wrong number"
    assert peer.admission.objection(host.envelope) is None
    assert peer.admission.objection(forged) is not None


def test_a_number_is_good_for_one_greeting() -> None:
    world = World()
    world.settle()
    host, peer = world.hosts["n1"], world.hosts["n2"]
    host.start()
    (hello,) = host.admission.connected("n2")
    (challenge,) = sent(peer.admission.receive(hello, host.envelope))
    (answer,) = sent(host.admission.receive(challenge, peer.envelope))
    assert isinstance(answer, Hello)
    peer.admission.receive(answer, host.envelope)
    forged = Envelope("c", "n1", boot((1 << 32) - 1, 1))
    assert peer.admission.receive(answer, forged) == "a greeting with a wrong number"


def test_what_a_recovering_node_remembers_condemns_nobody() -> None:
    """Simulator seed 18: n2 lost its disk and was proven again; then n1 gets a copy of its disk
    from before that, in which n2 still has its first folder."""
    world = World()
    world.settle()
    n1, n2 = world.hosts["n1"], world.hosts["n2"]
    old = n1.store.load()
    starts = n1.starts
    n2.wipe()
    world.ticks(2 * REPEAT_TICKS)
    n2.store.save(HardState(3, None), [Entry(1, 3, EntryKind.NOOP, b"")])
    n2.store.set_recovering(False)
    n2.start()
    n1.start()
    world.ticks(2 * REPEAT_TICKS)
    assert world.standing("n2") is Standing.MEMBER
    n1.store = MemoryLogStore()
    n1.store.save(old.hard_state, old.entries)
    for peer, identity in old.identities:
        n1.store.remember(peer, identity)
    n1.starts = starts - 1
    n1.start()
    world.ticks(2 * REPEAT_TICKS)
    assert world.standing("n1") is Standing.RECOVERING
    n2.start()
    world.ticks(3 * REPEAT_TICKS)
    assert world.standing("n2") is Standing.MEMBER, "it has forgotten nothing"
    assert n1.admission.objection(n2.envelope) is None, "n1 listens to it, or it never recovers"
    assert n2.admission.objection(n1.envelope) is None


@pytest.mark.parametrize("restarts", [False, True])
def test_a_peer_that_hears_late_of_a_proven_node_does_not_make_it_recover_again(
    restarts: bool,
) -> None:
    """Simulator seeds 304 and 849: n1 lost its disk while its link to n3 was bad, and was proven.
    Would it recover again, a disk that n2 loses next would stop all three for ever."""
    world = World()
    world.settle()
    n1, n3 = world.hosts["n1"], world.hosts["n3"]
    world.down = {"n3"}
    n1.wipe()
    world.ticks(2 * REPEAT_TICKS)
    assert world.standing("n1") is Standing.RECOVERING
    n1.prove()
    if restarts:
        n1.start()
        world.ticks(2 * REPEAT_TICKS)
    world.down = set()
    world.ticks(3 * REPEAT_TICKS)
    assert world.standing("n1") is Standing.MEMBER
    assert n3.admission.objection(n1.envelope) is None
    assert n1.admission.objection(n3.envelope) is None
