#!/usr/bin/env bash
# Makes the network of a running cluster late, lossy, disorderly or repetitive.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/network.sh delay|loss|reorder|duplicate [--ms N] [--jitter N]
           [--percent N] [--node NAME] [--one-way out|in] [--seconds N] [--config FILE]

Does so to packets of all links between nodes, proxies and clients, or of one node's, for N seconds;
taken back also when this script is interrupted. No netem is needed. Packets that were touched are
counted: none is a failure.
Needs a cluster that was started for it, with root: scripts/chaos/cluster.sh --out DIR; then give
--config DIR/nodes.toml.

  --ms N          delay: milliseconds; 50 by default
  --jitter N      delay: up to so many milliseconds more or less; 20 by default
  --percent N     loss, reorder, duplicate: of packets; 5, 20 and 20 by default
  --node NAME     only links of this node; leader or follower: of that role
  --one-way WAY   with --node: only what it sends (out), or only what it hears (in)
  --seconds N     how long; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: sudo scripts/chaos/network.sh loss --percent 20 --config DIR/nodes.toml
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py network "$@"
