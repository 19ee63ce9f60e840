"""Which appends a follower with a full disk still takes. Pure.

An append that is not taken is not answered either: to Raft it was lost on the way, which it may
be (thesis 3.5). Heartbeats pass, so the follower goes on following, votes, and confirms reads.
The leader's window to it fills up and nothing more is sent but an empty append now and then;
that one is held back too as long as it speaks of entries that are not here, because its answer
would make the leader send them all again.
"""

from __future__ import annotations

from raftzmq.raft.messages import AppendRequest, Message


def needs_room(message: Message, last_index: int) -> bool:
    """Whether ``message`` brings data for the log, or asks about entries beyond ``last_index``.

    The no-op of a new leader passes: a few bytes, without which no linearizable read is answered
    (thesis 6.4).
    """
    return isinstance(message, AppendRequest) and (
        message.prev_index > last_index or any(entry.data for entry in message.entries)
    )
