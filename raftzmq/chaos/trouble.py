"""What goes wrong with a run of chaos itself, as opposed to with the cluster under it."""

from __future__ import annotations

from raftzmq.errors import StartError


class ChaosError(StartError):
    """A fault cannot be injected, or the run cannot begin or go on; the message says why."""

    exit_code = 9  # of its own: a script has to tell a run without a verdict from a violation


class NotNow(ChaosError):
    """The state of the cluster does not allow this fault at this moment, and that is no failure of
    the cluster: another moment, or another victim, will do."""
