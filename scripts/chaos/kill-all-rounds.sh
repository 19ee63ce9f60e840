#!/usr/bin/env bash
# Kills all processes of a cluster at once, under load, again and again; no acknowledged row may
# be lost or doubled.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/kill-all-rounds.sh [--rounds N] [--writers N] [--seed N] [--keep]

Starts a cluster of its own (three nodes, a proxy, and `raftzmq start` that keeps them) in a
temporary folder on free loopback ports. Each round: 64 writers insert unique rows through the
proxy; after 0.5 to 2 seconds one `kill -9` hits all five processes; the cluster is started again
while the writers still wait for their answers; then every row is read back.

A round fails when an acknowledged row is missing, a row is there twice, a row is there that was
refused or never sent, the three replicas are not equal, or too few writes were acknowledged before
the kill to mean anything. Running clusters are not touched.

  --rounds N             20 by default, about 6 seconds each
  --writers N            64 by default
  --acknowledged-min N   acknowledged writes that a round needs before the kill; 200 by default
  --seed N               of the moments of the kills; random by default, printed
  --keep                 keep the data folders and logs; they are always kept after a failure

Exit code: 0 every round passed, 1 not so, 2 wrong arguments.
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program kill_all_rounds.py "$@"
