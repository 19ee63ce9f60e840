"""Checks that must hold whatever the input is, and that survive ``python -O``.

A broken invariant means that the program is wrong, not the request: nobody catches
``InvariantBroken``, the process exits and the service manager starts it again. Never use
``check`` for input from a client, a peer, a file or an operator: those get an error of
``raftzmq.errors``.
"""

from __future__ import annotations


class InvariantBroken(Exception):
    """A property the code relies on does not hold; the process must stop."""


def check(holds: bool, what: str, /, **facts: object) -> None:
    """Stop the process unless ``holds``.

    Args:
        holds: the property.
        what: the property in words, as it should be.
        facts: values that an engineer needs to see beside it.

    Raises:
        InvariantBroken: the property does not hold.
    """
    if not holds:
        shown = ", ".join(f"{name}={value!r}" for name, value in facts.items())
        raise InvariantBroken(f"{what} ({shown})" if shown else what)
