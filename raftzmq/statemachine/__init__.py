"""What applying SQL means: deterministic, all or nothing, exactly once.

Knows nothing of Raft, peers or sockets: entries come in as bytes under an index, replies go
out as bytes. ``machine`` is the only writer of state.db; ``readers``, ``digest`` and
``snapshot`` look at it through read-only connections.
"""
