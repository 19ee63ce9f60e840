"""A context that fails the test which leaks a socket, or whose context will not terminate."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zmq


class WatchedContext(zmq.Context):
    """Remembers each socket it hands out, monitors included."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        object.__setattr__(self, "handed_out", [])

    def socket(self, *args: Any, **kwargs: Any) -> Any:
        made = super().socket(*args, **kwargs)
        self.handed_out.append(made)
        return made


def terminate(context: WatchedContext) -> None:
    """Fail when sockets were left open; close them, so that other tests do not suffer."""
    leaked = [each for each in context.handed_out if not each.closed]
    shown = [f"socket of type {each.type!r}" for each in leaked]
    for each in leaked:
        each.close(linger=0)
    ender = threading.Thread(target=context.term, daemon=True)
    ender.start()
    ender.join(5)
    assert not shown, f"left open: {shown}"
    assert not ender.is_alive(), "the context does not terminate"


@pytest.fixture
def context() -> Iterator[WatchedContext]:
    watched = WatchedContext()
    yield watched
    terminate(watched)
