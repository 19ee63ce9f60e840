#!/usr/bin/env bash
# Measures etcd, PostgreSQL, PySyncObj and SQLite in turn with raftzmq on this machine.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/bench/peers.sh [--install] [--only NAME,...] [--rounds N] [--seconds N]
           [--in-flight N,...] [--size BYTES] [--folder DIR] [--save FILE] [--lock FILE]

Measures each system with 1, 64 and 256 requests in flight, writes and reads of 100 bytes, in turn
with raftzmq, in several rounds; prints a table in Markdown with medians, ranges and ratios.

  raftzmq     three nodes and a proxy; one pipelined connection, then a connection per request
  etcd        three members; load by scripts/bench/etcdload (Go), 8 connections shared
  postgresql  a primary and two standbys, ANY 1 of them has each commit on its disk; load by pgbench
  pysyncobj   three processes, the load within one of them; it does not sync its journal per write,
              so it promises less, and reads are local: only writes are measured
  sqlite      one process, N inserts a transaction: the limit that disk and library set

What is not there is named and skipped. Nothing is installed without --install, which unpacks etcd
from its Debian package and puts PySyncObj into a temporary venv (both removed at the end), and
installs the package postgresql when it is missing (that one stays). Data is in temporary folders,
traffic on loopback; everything is stopped by its process id, also on ctrl-C.

  --only NAME,...    of the five above
  --rounds N         3 by default
  --seconds N        measured, each; 5 by default, after --warm-up 1
  --in-flight N,...  1,64,256 by default; 300 at most
  --size N           bytes of a value; 100 by default
  --folder DIR       where data is written; it decides what an fsync costs
  --save FILE        write all figures as JSON, too
  --lock FILE        hold this lock (flock) while one system is measured, and not between two

Exit code: 0 all was measured, 1 something was skipped or failed, 2 wrong arguments, 130 ctrl-C.
Example: scripts/bench/peers.sh --install --rounds 3 --save peers.json
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program peers.py "$@"
