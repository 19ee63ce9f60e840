"""What libzmq itself must survive with our socket options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("purpose", ["CLIENT_ROUTER", "PEER_ROUTER", "BROKER_ROUTER"])
def test_a_client_that_fills_the_queue_and_goes_does_not_end_the_process(purpose: str) -> None:
    """With heartbeats on the bound socket libzmq aborts here: see transport/sockets.py."""
    command = [sys.executable, "-m", "tests.hostile.unread", purpose]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
