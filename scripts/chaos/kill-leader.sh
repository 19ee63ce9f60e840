#!/usr/bin/env bash
# Kills the leader of a running cluster with SIGKILL and says who leads next, and after how long.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/kill-leader.sh [--restart] [--config FILE]

Finds the leader of the running cluster, kills its process with SIGKILL, and prints who leads next,
after how many milliseconds, and when a linearizable read was answered again.

The killed node stays down, and the command that starts it again is printed, unless --restart is
given, or something keeps it running, as cluster.sh and systemd do.

Refused when the other nodes that answer are no majority: nobody could take over.

Works only on a cluster whose nodes are all on this machine: on loopback, or started by
cluster.sh.

  --restart       start it again in the background, and wait until it holds everything
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 there is a new leader, and with --restart the cluster is whole again; 1 not so, or no
cluster runs; 2 wrong arguments.
Example: raftzmq start &  scripts/chaos/kill-leader.sh
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program leader.py kill "$@"
