from __future__ import annotations

from raftzmq.transport.clock import monotonic_ms, wall_ms


def test_monotonic_time_never_goes_back() -> None:
    seen = [monotonic_ms() for _ in range(1_000)]
    assert seen == sorted(seen)
    assert type(seen[0]) is int


def test_wall_time_is_in_milliseconds_since_1970() -> None:
    assert 1_700_000_000_000 < wall_ms() < 10_000_000_000_000
