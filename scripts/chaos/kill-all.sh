#!/usr/bin/env bash
# Kills all nodes and proxies of a running cluster at once, and has them started again.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/kill-all.sh [--seconds N] [--config FILE]

Kills every node and proxy with SIGKILL at the same moment, waits N seconds, and has them started
again. kill-all-rounds.sh does so under load with a cluster of its own, and counts rows.

Works only on a cluster whose nodes are all on this machine: on loopback, or started by
cluster.sh.

  --seconds N     how long all are down; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: raftzmq start &  scripts/chaos/kill-all.sh
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py kill-all "$@"
