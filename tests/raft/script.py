"""Plays scenario scripts; the commands are listed in scenarios/README.md."""

from __future__ import annotations

from collections.abc import Callable

from raftzmq.raft.describe import describe_entry
from raftzmq.raft.types import Configuration, NodeId, Role, Standing
from tests.raft.cluster import (
    Cluster,
    Node,
    Posted,
    describe_parcel,
    voters,
    with_configuration,
    with_log,
)
from tests.raft.safety import Safety


class Script:
    """One scenario under way; every event is checked for safety as well."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.is_quiet = False
        self.cluster: Cluster
        self.safety: Safety

    def play(self, text: str) -> str:
        """The text with the conversation as it happened under each command."""
        self.lines = []
        for line in text.splitlines():
            if line.startswith("  "):
                continue
            self.lines.append(line)
            if line.startswith(">"):
                self._command(line[1:].split())
        return "\n".join(self.lines) + "\n"

    def _command(self, words: list[str]) -> None:
        name, *rest = words
        handler: Callable[[list[str]], None] = getattr(self, f"do_{name}")
        handler(rest)

    def _say(self, line: str) -> None:
        if not self.is_quiet:
            self.lines.append(line)

    def _names(self, words: list[str]) -> list[NodeId]:
        if not words or words == ["*"]:
            return [node.name for node in self.cluster.running()]
        return words

    # --- making a cluster ---------------------------------------------------------------------

    def do_nodes(self, words: list[str]) -> None:
        options = dict(word.split("=") for word in words if "=" in word)
        names = frozenset(word for word in words if "=" not in word)
        outgoing = frozenset(filter(None, options.pop("outgoing", "").split(",")))
        learners = frozenset(filter(None, options.pop("learners", "").split(",")))
        settings = {"election_ticks": 10, "heartbeat_ticks": 2}
        settings |= {key: int(value) for key, value in options.items()}
        configuration = Configuration(voters=names, outgoing=outgoing, learners=learners)
        self.cluster = Cluster(configuration, rng=None, watch=self._watch, **settings)
        self.cluster.say = self._say
        self.safety = Safety(self.cluster)

    def do_log(self, words: list[str]) -> None:
        name, *rest = words
        options = dict(word.split("=") for word in rest if "=" in word)
        terms = [int(word) for word in rest if "=" not in word]
        with_log(
            self.cluster.nodes[name], terms, term=int(options["term"]), vote=options.get("vote")
        )

    def do_start(self, words: list[str]) -> None:
        standing = Standing.UNKNOWN if words[-1:] == ["unknown"] else None
        names = words[:-1] if standing else words
        for name in names or self.cluster.nodes:
            self.cluster.restart(name, standing)

    def do_crash(self, words: list[str]) -> None:
        for name in words:
            self.cluster.crash(name)

    def do_restart(self, words: list[str]) -> None:
        for name in words:
            self.cluster.crash(name)
            self.cluster.restart(name)

    def do_believe(self, words: list[str]) -> None:
        """One node that is down takes these for the voters, as after a change it has not seen."""
        name, *rest = words
        learners = tuple(word.removeprefix("learner:") for word in rest if ":" in word)
        names = [word for word in rest if ":" not in word]
        with_configuration(self.cluster.nodes[name], voters(*names, learners=learners))

    def do_wipe(self, words: list[str]) -> None:
        self.cluster.wipe(words[0], mark=words[1:] != ["unmarked"])

    def do_save(self, words: list[str]) -> None:
        for name in words:
            self.cluster.save_copy(name)

    def do_rollback(self, words: list[str]) -> None:
        self.cluster.roll_back(words[0], mark=words[1:] != ["unmarked"])

    def do_admit(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].live.admit("peers know it")

    def do_welcome(self, words: list[str]) -> None:
        self.cluster.welcome(words[0])

    def do_restarted(self, words: list[str]) -> None:
        self.cluster.meet(*words)

    # --- time ---------------------------------------------------------------------------------

    def do_tick(self, words: list[str]) -> None:
        for _ in range(int(words[1])):
            for name in self._names(words[:1]):
                self.cluster.tick(name)

    def do_run(self, words: list[str]) -> None:
        """Time passes: a tick of each node, then all messages arrive, and so on."""
        for _ in range(int(words[0])):
            for name in self._names(words[1:]):
                self.cluster.tick(name)
            self.cluster.stabilize()

    def do_campaign(self, words: list[str]) -> None:
        node = self.cluster.nodes[words[0]]
        for _ in range(100):
            self.cluster.tick(node.name)
            if node.live.role is not Role.FOLLOWER:
                return
        raise AssertionError(f"{node.name} does not campaign")

    def do_expire(self, words: list[str]) -> None:
        """Only the clock moves, so that a script can let one node campaign and not another."""
        for name in self._names(words):
            state = self.cluster.nodes[name].live._state
            if state.role is not Role.LEADER:
                state.now += state.config.election_ticks

    def do_elect(self, words: list[str]) -> None:
        self.do_expire(["*"])
        self.do_campaign(words)
        self.cluster.stabilize()
        leader = self.cluster.nodes[words[0]]
        assert leader.live.role is Role.LEADER
        # On to the first heartbeat: the followers know then what is committed, and the next
        # heartbeat is due after a whole interval.
        for _ in range(leader.config.heartbeat_ticks):
            self.cluster.tick(leader.name)
        self.cluster.stabilize()

    # --- messages -----------------------------------------------------------------------------

    def do_flush(self, words: list[str]) -> None:
        options = dict(word.split("=") for word in words if "=" in word)
        crash = int(options["crash"]) if "crash" in options else None
        for name in self._names([word for word in words if "=" not in word]):
            self.cluster.flush(name, effects_max=crash)

    def do_stabilize(self, words: list[str]) -> None:
        self.cluster.stabilize(*words)

    def do_deliver(self, words: list[str]) -> None:
        for place in self._link(words):
            self.cluster.say_delivered(self.cluster.deliver(place))

    def do_duplicate(self, words: list[str]) -> None:
        count = len(self._places(words))
        for place in self._places(words)[:count]:
            self.cluster.say_delivered(self.cluster.deliver(place, keep=True))

    def do_drop(self, words: list[str]) -> None:
        for place in self._link(words):
            self._say(f"  {describe_parcel(self.cluster.drop(place))}")

    def do_reverse(self, words: list[str]) -> None:
        places = self._places(words)
        parcels: list[Posted] = [self.cluster.network[place] for place in reversed(places)]
        for place, parcel in zip(places, parcels, strict=True):
            self.cluster.network[place] = parcel

    def do_network(self, words: list[str]) -> None:
        for parcel in self.cluster.network:
            self._say(f"  {describe_parcel(parcel.parcel)}")

    def do_cut(self, words: list[str]) -> None:
        for word in words:
            sender, receiver = word.split(">")
            self.cluster.cuts.add((sender, receiver))

    def do_isolate(self, words: list[str]) -> None:
        for name in words:
            for other in self.cluster.nodes:
                self.cluster.cuts |= {(name, other), (other, name)}

    def do_heal(self, words: list[str]) -> None:
        self.cluster.cuts.clear()

    def _places(self, words: list[str]) -> list[int]:
        sender, receiver = words[0].split(">")
        places = [
            place
            for place, parcel in enumerate(self.cluster.network)
            if parcel.receiver == receiver and parcel.sender == sender
        ]
        assert places, f"nothing is on its way on {words[0]}"
        return places[: int(words[1])] if len(words) > 1 else places

    def _link(self, words: list[str]) -> list[int]:
        """Places to take one after the other; each taken one shifts the rest."""
        return [place - taken for taken, place in enumerate(self._places(words))]

    # --- what clients and operators do --------------------------------------------------------

    def do_propose(self, words: list[str]) -> None:
        name, *data = words
        for word in data:
            position = self.cluster.propose(name, word.encode())
            if position is None:
                self._say(f"  refused: {self.cluster.nodes[name].live.propose_refusal()}")
            else:
                self._say(f"  {position.index}@{position.term}")

    def do_read(self, words: list[str]) -> None:
        self.safety.read_began(words[0], self.cluster._contexts + 1)
        context = self.cluster.read(words[0])
        self._say(f"  read {context}")

    def do_transfer(self, words: list[str]) -> None:
        target = words[1] if len(words) > 1 else None
        begun = self.cluster.nodes[words[0]].live.transfer_leadership(target)
        self._say(f"  {'begun' if begun else 'not begun'}")

    def do_lost(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].live.peer_lost(words[1])

    def do_unfit(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].live.set_electable(False, "test")

    def do_fit(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].live.set_electable(True, "test")

    def do_reapply(self, words: list[str]) -> None:
        """The state machine goes back to an earlier state of itself."""
        node, index = self.cluster.nodes[words[0]], int(words[1])
        del node.applied[index:]
        node.live.reapply(index)

    def do_compact(self, words: list[str]) -> None:
        base = self.cluster.compact(words[0], int(words[1]))
        self._say(f"  base {base.index}@{base.term}")

    # --- looking ------------------------------------------------------------------------------

    def do_status(self, words: list[str]) -> None:
        for name in words or self.cluster.nodes:
            self._say(f"  {_status(self.cluster.nodes[name])}")

    def do_logs(self, words: list[str]) -> None:
        for name in words or self.cluster.nodes:
            node = self.cluster.nodes[name]
            if node.raft is None:
                self._say(f"  {name}: down")
                continue
            base = node.live.base
            entries = " ".join(describe_entry(entry) for entry in node.log())
            start = f"({base.index}@{base.term}) " if base.index else ""
            self._say(f"  {name}: {start}{entries}".rstrip())

    def do_progress(self, words: list[str]) -> None:
        for peer, view in self.cluster.nodes[words[0]].live.progress().items():
            active = "" if view.recent_active else " inactive"
            self._say(
                f"  {peer}: {view.flow.value} match={view.match_index} "
                f"next={view.next_index}{active}"
            )

    def do_quiet(self, words: list[str]) -> None:
        self.is_quiet = True

    def do_loud(self, words: list[str]) -> None:
        self.is_quiet = False

    def _watch(self, node: Node) -> None:
        self.safety.check(node)


def _status(node: Node) -> str:
    if node.raft is None:
        return f"{node.name}: down"
    raft = node.live
    last = raft.last_position
    standing = "" if raft.standing is Standing.MEMBER else f" {raft.standing.value}"
    return (
        f"{node.name}: {raft.role.value} t{raft.term} vote={raft.voted_for or '-'} "
        f"leader={raft.leader or '-'} last={last.index}@{last.term} "
        f"commit={raft.commit_index} applied={len(node.applied)}{standing}"
    )
