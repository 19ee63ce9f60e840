#!/usr/bin/env bash
# Throws spoilt messages and files at whatever takes them from outside, with fresh seeds.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: scripts/fuzz.sh [--minutes N] [--seed S] [--target peer|client|broker|config|all]
           [--keep FOLDER]
       scripts/fuzz.sh --replay FILE

Throws spoilt messages at a replica, a node's service and a broker, and spoilt files at the reader
of nodes.toml. An input that fails is cut down, written to FOLDER, and played again by --replay.

  --minutes N     for all targets together; 1 by default
  --seed S        of the inputs; a fresh one by default, printed
  --target NAME   this one only
  --keep FOLDER   takes what fails; build/fuzz by default
  --replay FILE   play one kept input again

Exit code: 0 every promise was kept, 1 an input failed, 2 wrong arguments, or there was no time to
try each target.
Example: scripts/fuzz.sh --minutes 10 --target config
HELP
}

for argument in "$@"; do
    case "$argument" in --help | -h) usage; exit 0 ;; esac
done

. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv "[dev]"
cd "$ROOT"
exec "$VENV/bin/python" -m tests.hostile.fuzz "$@"
