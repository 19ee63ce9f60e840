"""Injects one fault into a running cluster of this machine, waits, takes it back, says what it did.

Run by the scripts beside it, each of which explains its own arguments.
"""

# ruff: noqa: T201  (printing is what this program is for)
from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

from running import find_cluster, open_stand, seconds

from raftzmq.chaos.faults.catalogue import make
from raftzmq.chaos.faults.fault import Fault
from raftzmq.chaos.kinds import KINDS, possible
from raftzmq.chaos.schedule import Planned
from raftzmq.chaos.stand import HOW, Stand
from raftzmq.chaos.trouble import ChaosError
from raftzmq.errors import RaftzmqError

WHOLE_S = 20.0
_TAKE_NO_ROLE = ("network", "clock", "kill-random")
"""Kinds that choose by themselves without looking at roles: they are given a name."""
_SHAPES = {
    "partition": ("full", "one-way", "bridge"),
    "network": ("delay", "loss", "reorder", "duplicate"),
    "clock": ("jump", "drift"),
}


class WrongName(ChaosError):
    """Nothing of this name is in nodes.toml."""


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args()
    # Whoever stops this script must not leave a fault behind: finally clauses have to run.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    try:
        with open_stand(find_cluster(arguments.config)) as stand:
            if arguments.what == "heal":
                heal(stand)
                return 0
            if arguments.what == "all":
                return _all(stand, arguments)
            return 0 if _one(stand, _kind(arguments), arguments) else 1
    except WrongName as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RaftzmqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def heal(stand: Stand) -> None:
    """Take back whatever a fault may have left that could not take itself back.

    Raises:
        ChaosError: it is another cluster that runs, or none.
    """
    check_runs_here(stand)
    if stand.control is not None:
        for name, counts in stand.control.clear().items():
            print(f"{name} taken back after {counts.touched()} packets")
    for shim in stand.shims.values():
        shim.clear()
    for disk in stand.disks.values():
        disk.remove()
    for name in stand.seats:
        pid = stand.processes.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    print(f"all links, disks, clocks and processes of {', '.join(stand.seats)} are as they were")


def check_runs_here(stand: Stand) -> None:
    """A cluster that answers may be on this machine and yet not be the one whose locks are seen.

    Raises:
        ChaosError: no process holds a lock of it.
    """
    if all(stand.processes.pid(name) is None for name in stand.seats):
        folders = ", ".join(str(node.data.absolute()) for node in stand.config.nodes.values())
        raise ChaosError(
            f"nothing of this cluster runs here, by the locks in {folders}; is this the nodes.toml "
            f"and the current directory that it was started with?"
        )


def _all(stand: Stand, arguments: argparse.Namespace) -> int:
    can, cannot = possible(KINDS, stand.have)
    failed = []
    for kind in can:
        try:
            fired = _one(stand, kind, arguments)
        except ChaosError as error:
            print(f"error: {kind}: {error}", file=sys.stderr)
            fired = False
        if not fired:
            failed.append(kind)
    print(f"{len(can) - len(failed)} of {len(can)} kinds of faults fired and were survived")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    for kind, why in cannot.items():
        print(f"not injected: {kind} {why}", file=sys.stderr)
    return 1 if failed or (cannot and not arguments.possible) else 0


def _one(stand: Stand, kind: str, arguments: argparse.Namespace) -> bool:
    _, cannot = possible((kind,), stand.have)
    if cannot:
        raise ChaosError(f"{kind} {cannot[kind]}: {HOW}")
    victim = _named(stand, kind, arguments)
    if all(stand.processes.pid(name) is None for name in stand.seats) and not stand.look():
        print(
            f"nothing of this cluster runs here yet; waiting {WHOLE_S:.0f} s for `raftzmq start`",
            file=sys.stderr,
            flush=True,
        )
    stand.wait_until_whole(WHOLE_S)
    check_runs_here(stand)
    if kind.startswith(_TAKE_NO_ROLE):
        victim = _of_role(stand, victim)
    numbers = {
        name: value for name in _NUMBERS if (value := getattr(arguments, name, None)) is not None
    }
    planned = Planned(
        kind=kind,
        at_s=0.0,
        for_s=arguments.seconds,
        lead=victim == "leader",
        choice=random.randrange(1 << 16),
        numbers={**_DEFAULTS.get(kind, {}), **numbers},
    )
    fault = make(stand, planned, "" if victim in ("leader", "follower") else victim)
    try:
        fault.inject()
        print(f"{kind} {fault.target}: {fault.detail or 'on'}")
        _wait(fault, arguments.seconds)
    finally:
        fault.heal()
    began = time.monotonic()
    leader = stand.wait_until_whole()
    print(f"{kind} {fault.target} taken back: {fault.detail}")
    print(
        f"whole again {time.monotonic() - began:.2f} s later: {leader.node} leads in term "
        f"{leader.term}"
    )
    if not fault.fired:
        print(f"error: {kind} was not seen to have any effect", file=sys.stderr)
    return fault.fired


def _wait(fault: Fault, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        fault.look()
        time.sleep(min(0.1, max(0.0, deadline - time.monotonic())))


def _named(stand: Stand, kind: str, arguments: argparse.Namespace) -> str:
    """ "leader", "follower", a name, or "" for what the kind takes by itself."""
    wanted = str(getattr(arguments, "node", None) or "")
    names = stand.proxies if kind == "kill-proxy" else stand.nodes
    # Who leads is the one that the others may lack something of.
    roles = {"kill-proxy": (), "wipe-node": ("follower",)}.get(kind, ("leader", "follower"))
    if wanted not in ("", *roles, *names):
        raise WrongName(f"--node {wanted}: it is none of {', '.join((*roles, *names))}")
    return wanted


def _of_role(stand: Stand, wanted: str) -> str:
    """The node of that role now; a name stays as it is."""
    if wanted not in ("leader", "follower"):
        return wanted
    leader = stand.leader().node
    others = [name for name in stand.nodes if name != leader]
    return leader if wanted == "leader" or not others else random.choice(others)


def _kind(arguments: argparse.Namespace) -> str:
    shape = getattr(arguments, "shape", "")
    return f"{arguments.what}-{shape}" if shape else str(arguments.what)


_NUMBERS = (
    "with_proxy", "deaf", "delay_ms", "jitter_ms", "loss_percent", "reorder_percent",
    "duplicate_percent", "sync_ms", "state", "all", "jump_s", "permille", "one_way",
)  # fmt: skip
_DEFAULTS = {
    "network-delay": {"delay_ms": 50, "jitter_ms": 20},
    "network-loss": {"loss_percent": 5},
    "network-reorder": {"reorder_percent": 20},
    "network-duplicate": {"duplicate_percent": 20},
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Inject one fault into a running cluster.")
    commands = parser.add_subparsers(dest="what", required=True)
    found = {}
    for name in (
        "kill-random", "kill-proxy", "kill-all", "pause", "partition", "network", "slow-disk",
        "fill-disk", "fsync-error", "clock", "rolling-restart", "wipe-node",
        "wake-cut-off", "all", "heal",
    ):  # fmt: skip
        each = found[name] = commands.add_parser(name)
        each.add_argument("--config", type=Path, default=None)
        if name in _SHAPES:
            each.add_argument("shape", choices=_SHAPES[name])
        if name not in ("heal", "kill-all", "rolling-restart", "all"):
            each.add_argument("--node", default=None if name == "network" else "follower")
        if name != "heal":
            each.add_argument("--seconds", type=seconds, default=3.0)
    for name in ("kill-random", "kill-proxy"):
        found[name].set_defaults(node=None)
    found["pause"].set_defaults(node="leader")
    found["wake-cut-off"].set_defaults(node="leader")
    found["clock"].set_defaults(node="leader")
    found["partition"].set_defaults(node="leader")
    found["partition"].add_argument("--deaf", action="store_const", const=1)
    found["partition"].add_argument("--with-proxy", action="store_const", const=1)
    network = found["network"]
    network.add_argument("--ms", dest="delay_ms", type=_number)
    network.add_argument("--jitter", dest="jitter_ms", type=_number)
    network.add_argument("--percent", type=_percent)
    network.add_argument("--one-way", choices=("out", "in"))
    found["slow-disk"].add_argument("--ms", dest="sync_ms", type=_number, default=150)
    found["fill-disk"].add_argument("--all", action="store_const", const=1)
    found["fsync-error"].add_argument("--state", action="store_const", const=1)
    found["clock"].add_argument("--by", dest="jump_s", type=int)
    found["clock"].add_argument("--permille", type=_number)
    found["all"].add_argument("--possible", action="store_true")
    return _Parser(parser)  # type: ignore[return-value]


class _Parser:
    """Puts --percent and --one-way where the kind looks for them."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def parse_args(self) -> argparse.Namespace:
        found = self._parser.parse_args()
        if found.what == "network":
            if found.percent is not None:
                setattr(found, f"{found.shape}_percent", found.percent)
            if found.one_way is not None:
                if not found.node:
                    self._parser.error("--one-way needs --node")
                found.one_way = {"out": 1, "in": 2}[found.one_way]
        return found


def _number(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 60_000:
        raise argparse.ArgumentTypeError("0 to 60000")
    return value


def _percent(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError("1 to 100")
    return value


if __name__ == "__main__":
    sys.exit(main())
