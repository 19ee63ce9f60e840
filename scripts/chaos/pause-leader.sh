#!/usr/bin/env bash
# Pauses the leader of a running cluster, shows its successor, wakes it up, shows it step down.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/pause-leader.sh [--seconds N] [--config FILE]

Finds the leader of the running cluster, stops its process with SIGSTOP for N seconds, prints who
leads meanwhile, wakes it up with SIGCONT, and prints when it stepped down. The leader is woken up
also when this script is interrupted.

Refused when the other nodes that answer are no majority: nobody could take over.

Works only on a cluster whose nodes are all on this machine: on loopback, or started by
cluster.sh.

  --seconds N     how long the pause lasts; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 another node took over and the old leader stepped down, 1 not so, 2 wrong arguments.
Example: raftzmq start &  scripts/chaos/pause-leader.sh --seconds 5
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program leader.py pause "$@"
