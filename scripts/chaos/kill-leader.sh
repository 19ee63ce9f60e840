#!/usr/bin/env bash
# Kills the leader of a running cluster with SIGKILL and says who leads next, and after how long.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/kill-leader.sh [--config FILE]

Finds the leader of the running cluster, kills its process with SIGKILL, and prints who leads next,
after how many milliseconds, and when a linearizable read was answered again.

Works only on a cluster whose nodes are all on this machine: on loopback, or started by
cluster.sh.

  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 there is a new leader, 1 there is none or no cluster runs, 2 wrong arguments.
Example: raftzmq start &  scripts/chaos/kill-leader.sh
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program leader.py kill "$@"
