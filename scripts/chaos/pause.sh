#!/usr/bin/env bash
# Pauses a node of a running cluster with SIGSTOP, and wakes it up.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/pause.sh [--node NAME] [--seconds N] [--config FILE]

Stops one node with SIGSTOP for N seconds and wakes it up with SIGCONT, also when this script is
interrupted. pause-leader.sh shows in addition who takes over and when the old leader steps down.

Works only on a cluster whose nodes are all on this machine: on loopback, or started by
cluster.sh.

  --node NAME     this one; leader (the default) or follower: of that role
  --seconds N     how long; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: raftzmq start &  scripts/chaos/pause.sh --node follower --seconds 10
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py pause "$@"
