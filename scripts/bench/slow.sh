#!/usr/bin/env bash
# Measures what a slow disk and a slow network leave of the writes, on a cluster of its own.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/bench/slow.sh [--case NAME]... [--fsync-ms N] [--rtt-ms N] [--clients N]
           [--seconds N] [--rounds N] [--json] [--keep]

Starts three nodes and a proxy, each in a network namespace of its own, with their data in memory,
and counts single-row INSERTs of 100 bytes through the proxy while

  quiet    nothing is done to them: the cost of the namespaces alone
  disk     each fsync of each node takes --fsync-ms longer
  network  each packet between nodes is --rtt-ms / 2 late, each way; the proxy is near the leader
  both     disk and network

Without --case all of them. A case ends with a look at the terms: an election is a failure. No more
writes than --clients are under way, so with the network slow there cannot be more of them per
second than --clients / --rtt-ms; that bound is printed beside.

Needs root, /dev/net/tun, iproute2 and a C compiler. Touches no other network of this machine.

  --fsync-ms N   20 by default
  --rtt-ms N     50 by default
  --clients N    writes in flight; 256 by default
  --seconds N    of each measurement; 8 by default, after 2 of warm-up
  --rounds N     of all cases; 3 by default
  --json         print JSON instead of the table
  --keep         keep the logs; they are always kept after a failure

Exit code: 0 every case was measured and nobody was voted out, 1 not so, 2 wrong arguments.
Example: sudo scripts/bench/slow.sh --case disk --fsync-ms 5
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program slow.py "$@"
