#!/usr/bin/env bash
# Fills the disk of a node of a running cluster, or of all, and makes room again.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/fill-disk.sh [--node NAME] [--all] [--seconds N] [--config FILE]

Fills the small disk of a node to the last byte, keeps it so for N seconds, and makes room again,
also when this script is interrupted. A node that does not say so in `raftzmq status` is a failure.
Needs a cluster that was started for it, with root: scripts/chaos/cluster.sh --out DIR; then give
--config DIR/nodes.toml.

  --node NAME     this one; leader or follower (the default): of that role
  --all           the disks of all nodes; leave out --node
  --seconds N     how long; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: sudo scripts/chaos/fill-disk.sh --node leader --config DIR/nodes.toml
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py fill-disk "$@"
