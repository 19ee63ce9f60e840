#!/usr/bin/env bash
# Kills the leader of a running cluster with SIGKILL and says who leads next, and after how long.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/kill-leader.sh [--config FILE]

Finds the leader of the running cluster, kills its process with SIGKILL, and prints who leads next,
after how many milliseconds, and when a linearizable read was answered again.

Works only on a cluster whose nodes are all on this machine (loopback addresses).

  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 there is a new leader, 1 there is none or no cluster runs, 2 wrong arguments.
Example: raftzmq start &  scripts/chaos/kill-leader.sh
TEXT
}

for argument in "$@"; do
    case "$argument" in --help | -h) usage; exit 0 ;; esac
done

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$HERE/../venv.sh"
prepare_venv ""
exec "$VENV/bin/python" "$HERE/leader.py" kill "$@"
