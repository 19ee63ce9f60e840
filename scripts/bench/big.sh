#!/usr/bin/env bash
# Measures what a cluster does with big things: databases, dumps, transactions, values.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/bench/big.sh [--phase NAME]... [--size-mb N] [--rows N] [--seconds N]
           [--writes N] [--dump FILE]... [--strict] [--json] [--keep]

Starts a cluster of its own (three nodes and a proxy) in a temporary folder on free loopback
ports, and measures, one after the other:

  load     `raftzmq write --file`: a generated dump of --rows rows, once in INSERTs of 500 rows and
           once of one row each, and every --dump; rows per second.       Goal: 100,000 rows/s
  huge     a transaction of 100 MB and a blob of 50 MB: refused by a named limit, or applied; a blob
           of 15 MB is applied.                                           Goal: no election by them
  steady   constant writes of 4 KiB for --seconds: the longest raft.db, raft.db-wal and
           state.db-wal, and the largest memory of each process.          Goal: 150 MB each
  restart  state.db is filled to --size-mb; a follower is killed and started, and asked until it
           answers a linearizable read itself.                            Goal: 3 s
  catchup  a follower is wiped and started under constant writes; until it has all of them.
           Goals: 100 MB/s from its start, at least half the writes per second of before
  flat     --writes inserts of 100 bytes, 256 in flight: the first and the last tenth of them, and
           the largest files and memory. Takes ten minutes; only when asked for.   Goal: 85%

Without --phase all of them but flat. Every phase ends with a comparison of the replicas.

  --size-mb N    of state.db for restart and catchup; 1000 by default
  --rows N       of the generated dumps; 1000000 by default
  --seconds N    of steady, and of the writes that are measured before catchup; 20 by default
  --writes N     of flat; 10000000 by default
  --dump FILE    a dump of yours beside the generated ones; may be given several times
  --strict       a goal that is missed is a failure; else it is only shown, because other work on
                 the machine would decide about it
  --json         print JSON instead of the table
  --keep         keep the data folders and logs; they are always kept after a failure

Exit code: 0 everything held, 1 something was wrong (an election, replicas that differ, a request
that failed for another reason than a named limit, a follower that does not catch up; with --strict
a missed goal), 2 wrong arguments.
Example: scripts/bench/big.sh --phase restart --phase catchup --size-mb 300
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program big.py "$@"
