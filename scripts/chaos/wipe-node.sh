#!/usr/bin/env bash
# Takes all data from a node of a running cluster; it comes back by itself.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/wipe-node.sh [--node NAME] [--seconds N] [--config FILE]

Kills a node, DELETES ITS DATA FOLDER, waits N seconds, has it started again, and waits until it has
everything from the others. Refused unless a majority of the cluster holds all that was acknowledged
without it.

Works only on a cluster whose nodes are all on this machine: on loopback, or started by
cluster.sh.

  --node NAME     this one, which must not lead; any follower by default
  --seconds N     how long it stays down; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: raftzmq start &  scripts/chaos/wipe-node.sh --node n2
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py wipe-node "$@"
