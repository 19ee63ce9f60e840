#!/usr/bin/env bash
# Makes the wall clock of a node of a running cluster jump or drift.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/clock.sh jump|drift [--by N] [--permille N] [--node NAME] [--seconds N]
           [--config FILE]

The node, and no other process, sees a wrong wall clock for N seconds; taken back also when this
script is interrupted. Nothing else should happen. A node that did not look at its clock is a
failure.
Needs a cluster that was started for it, with root: scripts/chaos/cluster.sh --out DIR; then give
--config DIR/nodes.toml.

  --by N          jump: seconds, also negative; 3600 by default
  --permille N    drift: thousandths of the right speed; 1500 by default
  --node NAME     this one; leader (the default) or follower: of that role
  --seconds N     how long; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: sudo scripts/chaos/clock.sh jump --by -86400 --config DIR/nodes.toml
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py clock "$@"
