#!/usr/bin/env bash
# Cuts a running cluster in two, fully, one way, or with one node between the sides.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/partition.sh full|one-way|bridge [--node NAME] [--with-proxy] [--deaf]
           [--seconds N] [--config FILE]

  full       nothing passes between the node and the others; clients reach both sides
  one-way    nobody hears the node, though it hears all; with --deaf it hears nobody
  bridge     the other nodes are two sides that do not reach each other; the node reaches both

The links are healed after N seconds, also when this script is interrupted. What was dropped is
counted: a partition that dropped nothing is a failure.
Needs a cluster that was started for it, with root: scripts/chaos/cluster.sh --out DIR; then give
--config DIR/nodes.toml.

  --node NAME     this one; leader (the default) or follower: of that role
  --with-proxy    full: a proxy is on the side of the node
  --deaf          one-way: the node hears nobody
  --seconds N     how long; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: sudo scripts/chaos/partition.sh full --node leader --config DIR/nodes.toml
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py partition "$@"
