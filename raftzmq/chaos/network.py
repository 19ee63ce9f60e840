"""A network of namespaces for one cluster: made, driven, taken down."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from raftzmq.chaos import build
from raftzmq.chaos.links import Counts, Link, Rule
from raftzmq.chaos.switch import SOCKET, SUBNET
from raftzmq.chaos.trouble import ChaosError

OUTSIDE: Final = "out"
"""The seat of clients and of whoever watches."""
_OWN: Final = "rzqchaos"
_TUN: Final = Path("/dev/net/tun")
_NAMES: Final = Path("/run/netns")
_ANSWER_S: Final = 10.0


def obstacles() -> list[str]:
    """What keeps this process from making namespaces, each with what to do about it."""
    found = []
    if os.geteuid() != 0:
        found.append("network namespaces need root: run it with sudo")
    if not _TUN.exists():
        found.append(f"{_TUN} is missing: modprobe tun (in a container: give it --device {_TUN})")
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            found.append(f"the program {program} is missing: apt install {package}")
    return found


def check_possible() -> None:
    """Raises:
    ChaosError: something keeps this process from making namespaces.
    """
    found = obstacles()
    if found:
        raise ChaosError(
            "a network of one's own is not possible here: " + "; ".join(found) + ". "
            "Faults that need none work with --loopback"
        )


class Control:
    """Orders to a switch that runs.

    Args:
        folder: its working folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, name: str, links: Iterable[Link], rule: Rule) -> None:
        """Begin a fault on links.

        Raises:
            ChaosError: the switch does not run, or does not know a seat.
        """
        fields = {slot: getattr(rule, slot) for slot in Rule.__slots__}
        order = {"do": "set", "name": name, "links": sorted(links), "rule": fields}
        self._order(order)

    def clear(self, name: str = "") -> dict[str, Counts]:
        """End the fault of this name, or all; what each of them touched.

        Raises:
            ChaosError: the switch does not run.
        """
        return _counts(self._order({"do": "clear", "name": name}))

    def counts(self) -> dict[str, Counts]:
        """What each fault that is on has touched.

        Raises:
            ChaosError: the switch does not run.
        """
        return _counts(self._order({"do": "counts"}))

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        try:
            # A path by way of /proc: the one of the folder may be longer than an address can be.
            folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                with socket.socket(socket.AF_UNIX) as one:
                    one.settimeout(_ANSWER_S)
                    one.connect(f"/proc/self/fd/{folder}/{SOCKET}")
                    one.sendall(json.dumps(order).encode() + b"\n")
                    with one.makefile("rb") as answers:
                        answer: dict[str, Any] = json.loads(answers.readline())
            finally:
                os.close(folder)
        except (OSError, ValueError) as error:
            raise ChaosError(f"the switch in {self._folder} does not answer: {error}") from error
        if "error" in answer:
            raise ChaosError(f"the switch refused {order['do']}: {answer['error']}")
        return answer


class Network:
    """Namespaces, one per seat, and the switch between them; a context manager.

    Args:
        folder: of the switch, for its socket and what it prints.
        seats: names; their addresses are 10.77.0.1 and up.
        seed: of what happens to packets.

    Raises:
        ChaosError: on entering: it is not possible here; the message says what to do.
    """

    def __init__(self, folder: Path, seats: Iterable[str], seed: int) -> None:
        self._folder = folder
        self._seed = seed
        numbers = {name: number for number, name in enumerate((*seats, OUTSIDE), start=1)}
        self._seats = {name: (f"{_OWN}{os.getpid()}-{name}", n) for name, n in numbers.items()}
        self._switch: subprocess.Popen[bytes] | None = None
        self.control = Control(folder)

    def __enter__(self) -> Self:
        check_possible()
        remove_leftovers()
        try:
            self._up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _up(self) -> None:
        for space, _ in self._seats.values():
            done = subprocess.run(
                ("ip", "netns", "add", space), capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise ChaosError(
                    f"a network namespace cannot be made: {done.stderr.strip()}; in a container "
                    f"that needs --privileged. Faults that need none work with --loopback"
                )
        with (self._folder / "switch.log").open("ab") as log:
            self._switch = subprocess.Popen(
                (sys.executable, "-m", "raftzmq.chaos.switch"),
                cwd=self._folder,
                env=build.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            order = {"seats": self._seats, "seed": self._seed}
            self._switch.stdin.write(json.dumps(order).encode() + b"\n")
            self._switch.stdin.flush()
        if self._switch.stdout.readline() != b"ready\n":
            text = (self._folder / "switch.log").read_text(errors="replace").strip()
            raise ChaosError(f"the switch did not start: {text.splitlines()[-1:] or 'no word'}")

    def close(self) -> None:
        """Take all down; processes in the namespaces should have ended before."""
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()
            for pipe in (self._switch.stdin, self._switch.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._switch = None
        for space, _ in self._seats.values():
            if (_NAMES / space).exists():
                _delete(space)

    def runs(self) -> bool:
        """Whether the switch still carries packets."""
        return self._switch is not None and self._switch.poll() is None

    @property
    def namespaces(self) -> Mapping[str, str]:
        """Seat -> name of its namespace."""
        return {name: space for name, (space, _) in self._seats.items()}

    def address(self, seat: str) -> str:
        """The IP address of a seat."""
        return f"{SUBNET}{self._seats[seat][1]}"

    def inside(self, seat: str) -> tuple[str, ...]:
        """What to put before a command so that it runs at a seat, as the same process."""
        return ("nsenter", f"--net={_NAMES / self._seats[seat][0]}", "--")


def remove_leftovers() -> None:
    """Delete namespaces of runs whose process is gone, as after a kill -9 of it."""
    if not _NAMES.is_dir():
        return
    for entry in _NAMES.iterdir():
        owner = entry.name.removeprefix(_OWN).partition("-")[0]
        if entry.name.startswith(_OWN) and owner.isdigit() and not Path("/proc", owner).exists():
            _delete(entry.name)


def _delete(space: str) -> None:
    subprocess.run(("ip", "netns", "del", space), capture_output=True, check=False)


def _counts(answer: dict[str, Any]) -> dict[str, Counts]:
    return {name: Counts(**fields) for name, fields in answer["counts"].items()}
