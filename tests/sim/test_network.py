"""The fake links lose, double, delay, reorder and cut what they are told to, and nothing else."""

from __future__ import annotations

from raftzmq.sim.chance import Chance
from raftzmq.sim.network import Network, Noise, Parcel
from raftzmq.sim.schedule import Schedule


class Wire:
    """One link and what came out of it."""

    def __init__(self, noise: Noise, seed: int = 1) -> None:
        self.schedule = Schedule()
        self.arrived: list[int] = []
        self.network = Network(
            self.schedule,
            Chance(seed, "network"),
            lambda parcel: self.arrived.append(int(parcel.frames[0])),
            noise,
        )

    def send(self, number: int, source: str = "n1", target: str = "n2") -> None:
        frames = (str(number).encode(),)
        self.network.send(Parcel(source, 1, target, self.schedule.now, b"", frames), peers=True)

    def settle(self) -> None:
        while self.schedule.step():
            pass


def test_a_quiet_link_delivers_all_in_order_and_later() -> None:
    wire = Wire(Noise())
    for number in range(100):
        wire.send(number)
    assert wire.arrived == []
    wire.settle()
    assert wire.arrived == list(range(100))
    assert wire.schedule.now >= wire.network.noise.delay_least


def test_loss_doubling_and_reordering() -> None:
    wire = Wire(Noise(loss=300))
    for number in range(200):
        wire.send(number)
    wire.settle()
    assert 100 < len(wire.arrived) < 180
    wire = Wire(Noise(twice=300))
    for number in range(200):
        wire.send(number)
    wire.settle()
    assert len(wire.arrived) > 220
    assert set(wire.arrived) == set(range(200))
    wire = Wire(Noise(overtake=300))
    for number in range(200):
        wire.send(number)
    wire.settle()
    assert sorted(wire.arrived) == list(range(200))
    assert wire.arrived != sorted(wire.arrived)


def test_a_cut_has_a_direction_and_takes_what_is_under_way() -> None:
    wire = Wire(Noise())
    wire.send(1)
    wire.network.cut("n1", "n2")
    wire.send(2)
    wire.send(3, "n2", "n1")
    wire.settle()
    assert wire.arrived == [3]
    wire.network.cut("n1", "n2")
    wire.network.mend("n1", "n2")
    wire.send(4)
    wire.settle()
    assert wire.arrived == [3], "two faults cut it, one ended"
    wire.network.mend("n1", "n2")
    wire.send(5)
    wire.settle()
    assert wire.arrived == [3, 5]


def test_old_frames_come_again() -> None:
    wire = Wire(Noise())
    for number in range(200):
        wire.send(number)
    wire.settle()
    wire.network.replay(12345)
    wire.settle()
    assert len(wire.arrived) == 201
    assert wire.arrived[-1] < 200
