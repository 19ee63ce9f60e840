"""The fixture that catches leaks does catch one."""

from __future__ import annotations

import pytest
import zmq

from tests.transport.conftest import WatchedContext, terminate


def test_a_leaked_socket_is_reported_and_closed() -> None:
    context = WatchedContext()
    leaked = context.socket(zmq.PAIR)
    with pytest.raises(AssertionError, match="left open"):
        terminate(context)
    assert leaked.closed
