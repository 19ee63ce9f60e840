"""Every bound and default in one place; nothing in raftzmq grows without one of these.

Units stand last in the name. A value that an operator may change is repeated as a key of
``[limits]`` in nodes.toml, with these as defaults.
"""

from __future__ import annotations

from typing import Final

# Time. One tick is the unit in which the pure core counts.
TICK_MS: Final = 10
HEARTBEAT_TICKS: Final = 4
ELECTION_TICKS: Final = 40
"""Lower end of the randomised election timeout; the upper end is twice this. Ten heartbeats,
so that a busy machine that delays a few of them causes no election."""
LEADER_LOST_TICKS_MAX: Final = 3
"""After the leader's connection broke, pre-vote starts within this many ticks."""
LAST_RESORT_ELECTIONS: Final = 5
"""After so many election timeouts without a leader, a node that should not lead (no room on its
disk, content that is wrong) stands as well: those who should have had the time to."""
REQUEST_TIMEOUT_MS: Final = 10_000
REQUEST_TIMEOUT_MAX_MS: Final = 600_000

CHECKSUM_INTERVAL_S: Final = 600
"""Between two comparisons of all replicas; 0: only when `raftzmq verify` asks."""

# Replication.
APPEND_BYTES_MAX: Final = 1 << 20
"""One append message stops growing here; a single larger entry still travels alone."""
INFLIGHT_BYTES_MAX: Final = 8 << 20
"""Unacknowledged bytes per follower in REPLICATE."""
INFLIGHT_MESSAGES_MAX: Final = 64
UNCOMMITTED_BYTES_MAX: Final = 64 << 20
"""A leader cut off from its majority refuses proposals beyond this (R64)."""
LOG_BYTES_MAX: Final = 48 << 20
"""The log in raft.db is compacted beyond this once state.db is checkpointed."""
LOG_KEEP_BYTES: Final = 16 << 20
"""What compaction leaves for followers that are a little behind."""
LOG_MEMORY_BYTES: Final = 8 << 20
"""So much of the log, and what is not committed, is in memory too, for followers that are hardly
behind; the rest of it is on disk only. Entries smaller than 256 bytes count as that."""
LOG_HOLD_BYTES_MAX: Final = 512 << 20
"""The log in raft.db is kept so long for a peer that takes a snapshot, and goes on by it. What is
beyond LOG_BYTES_MAX is on disk only."""
SNAPSHOT_CHUNK_BYTES: Final = 256 << 10
"""The C library gives memory for larger pieces back each time, and fetching it anew costs more than
the piece itself: 0.6 ms per MB at the sender alone."""
SNAPSHOT_CHUNKS_IN_FLIGHT: Final = 32
"""8 MiB. What else the receiver hears comes after them, so it must not take long on a slow link."""

# Requests.
REQUEST_BYTES_MAX: Final = 16 << 20
"""One request, statements and parameters; the state machine applies it as one transaction."""
MESSAGE_BYTES_MAX: Final = 24 << 20
"""ZMQ MAXMSGSIZE of every socket: REQUEST_BYTES_MAX and room for the envelope."""
RESULT_BYTES_MAX: Final = 16 << 20
LARGE_RESULT_BYTES: Final = 1 << 20
"""From this size on, to copy a result is what it costs: it is packed, put into a reply and passed
on with as few copies as may be, and with the interpreter let go (decision 010)."""
STATEMENTS_MAX: Final = 10_000
PARAMETERS_MAX: Final = 32_766
REQUEST_VALUES_MAX: Final = 2_000_000
"""Values in the arrays of one request: each takes tens of bytes once it is decoded."""
CLIENT_ID_BYTES_MAX: Final = 64
BATCH_REQUESTS_MAX: Final = 1024
BATCH_BYTES_MAX: Final = 1 << 20
SQL_EXPRESSION_DEPTH_MAX: Final = 200
WRITE_STEPS_MAX: Final = 4_000_000_000
"""Virtual machine steps of SQLite that one write request may take. Counted in steps and
not in milliseconds, because each replica must come to the same verdict."""
READ_TIMEOUT_MS: Final = 60_000
FAST_READ_MS: Final = 20
"""A read that takes longer in a fast lane is stopped and sent again by a slow one."""

# Exactly once.
LEDGER_MS: Final = 600_000
LEDGER_BYTES_MAX: Final = 32 << 20
KEY_LEDGER_MS: Final = 7 * 24 * 3_600_000
"""Idempotency keys are given by people and repeated by cron jobs: days, not minutes."""
KEY_LEDGER_BYTES_MAX: Final = 16 << 20
KEY_BYTES_MAX: Final = 48
"""Of an idempotency key in UTF-8; the rest of CLIENT_ID_BYTES_MAX is for the number of a part."""

# Disk.
DISK_RESERVE_BYTES: Final = 256 << 20
"""Room that a node keeps free: with less it hands leadership over or refuses writes. It must
hold what is written after the last write was taken: raft.db up to log_bytes_max and a third,
64 MiB; the largest request in its write-ahead log and again in raft.db, 32 MiB; the WAL of
state.db and its pages in state.db, 64 MiB each; terms and votes."""
DISK_CRITICAL_SHARE: Final = 4
"""Below the reserve divided by this, a follower takes no more entries either."""
DISK_LOOK_MS: Final = 100
"""Between two looks a node must not be able to write more than lies between low and critical: a
second of small writes to a fast disk is 6 MiB in two write-ahead logs."""
STATE_CACHE_BYTES: Final = 16 << 20
"""Pages of state.db that its writer keeps in memory, and rows that a sort of its keeps there. What
is not in it the kernel has: a page costs a system call."""
STATE_WAL_BYTES: Final = 64 << 20
"""state.db is checkpointed at the latest when its write-ahead log is so long, and the log is
cut to it again after a reader held it up."""

# Node.
READ_WORKERS_FAST: Final = 2
READ_WORKERS_SLOW: Final = 6
NODE_PENDING_REQUESTS_MAX: Final = 50_000
NODE_PENDING_BYTES_MAX: Final = 128 << 20
"""Messages whose requests are not answered yet: half of it for writes, a quarter for reads at
level SESSION; a message of MESSAGE_BYTES_MAX must fit. Connections share all bounds fairly."""
CONNECTIONS_MAX: Final = 4_096
"""Per socket that strangers can reach; further ones are closed as they come."""
GROWTH_BYTES_MAX: Final = 320 << 20
"""A process that is larger than this closes connections that send much or do not read. A busy node
with its log in memory and NODE_PENDING_BYTES_MAX of honest requests stays below."""
APPLY_GROUP_ENTRIES_MAX: Final = 64
OBSERVER_TTL_MS: Final = 5_000

# Broker.
BROKER_QUEUE_REQUESTS_MAX: Final = 50_000
BROKER_QUEUE_BYTES_MAX: Final = 128 << 20
WRITE_LANES: Final = 4
FAST_READ_LANES: Final = 2
SLOW_READ_LANES: Final = 6
