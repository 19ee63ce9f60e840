"""What the exit code of `raftzmq` tells a script.

0   done
1   something else failed; the message says what. Of chaos: FAILED, see its verdicts
2   wrong use of the command line
3   NOT_EXECUTED: it did not happen and will not; run it again.
    Of verify: no difference was found, but not all nodes were compared
4   REJECTED: the request is wrong; running it again is useless
5   UNKNOWN: it may have happened
6   of check: the history is not linearizable
7   of check: undecided within the bound, or nothing to judge; never a pass
8   of check: the history cannot be read
9   of chaos: no verdict; the run could not begin, or could not be carried to its end
70  broken invariant in a node: please report it
73  the data folder is in use by another process
78  nodes.toml is wrong
79  the data folder belongs to another node or cluster
80  an address is in use
81  a file in the data folder is damaged
82  writing or syncing a file failed
101 sim: a crash, or a broken check of the product
102 sim: liveness; the faults were over and the cluster did not come to serve
103 sim: safety; the name of the violated invariant is printed
"""

from __future__ import annotations

from typing import Final

from raftzmq.errors import Outcome, RequestError

FAILED: Final = 1
USAGE: Final = 2
NOT_LINEARIZABLE: Final = 6
UNDECIDED: Final = 7
HISTORY_UNREADABLE: Final = 8
SIM_CRASH: Final = 101
SIM_LIVENESS: Final = 102
SIM_SAFETY: Final = 103

_BY_OUTCOME: Final = {Outcome.NOT_EXECUTED: 3, Outcome.REJECTED: 4, Outcome.UNKNOWN: 5}


def of_request(error: RequestError) -> int:
    """The exit code for a failed request."""
    return _BY_OUTCOME[error.outcome]


def explained(error: RequestError) -> str:
    """The message for a failed request: what happened and what that means for the database."""
    return f"{error.outcome.name} ({type(error).__name__}): {error.message}"
