#!/usr/bin/env bash
# Switches one rule of raftzmq off at a time and proves that the tests notice (docs/MUTANTS.md).
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: scripts/mutants.sh [--only NAME]... [--package NAME]... [--catcher NAME]... [--every]
           [--jobs N] [--budget SECONDS] [--no-control] [--document]
       scripts/mutants.sh --list

A mutant is a small change that switches off one rule (tests/mutants/mutants.toml). Each is made in
a copy of the project in a temporary folder, and three nets are held out for it, in this order:

  tests       scripted scenarios and unit tests, up to the first that fails
  schedules   random schedules of the consensus core with fixed seeds; for mutants of raft/ only
  simulator   raftzmq sim with fixed seeds

First, all of them have to pass without any mutant: otherwise nothing that they catch means
anything. What is out of time, or cannot even begin, has caught nothing. The project's own files
are not touched, except by --document.

  --only NAME       this mutant; may be given several times
  --package NAME    mutants of this package: raft, replica, storage, statemachine, transport,
                    node, broker, client; may be given several times
  --catcher NAME    this net only; may be given several times
  --every           do not stop at the first net that catches
  --jobs N          mutants at a time; 1 by default
  --budget SECONDS  of CPU, for each net and mutant; 120 by default
  --no-control      skip the run without a mutant
  --document        write what was found into tests/mutants/caught.json and docs/MUTANTS.md; mutants
                    that were not tried keep what was found before
  --list            name the mutants

The tests alone take minutes for all mutants, the other nets several times that.
Exit code: 0 every mutant was caught, 1 some were not, 2 wrong arguments, a mutant that does not
apply any more, or a control that failed.
Example: scripts/mutants.sh --only ledger-skipped --catcher tests
HELP
}

for argument in "$@"; do
    case "$argument" in --help | -h) usage; exit 0 ;; esac
done

. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv "[dev]"
cd "$ROOT"
exec "$VENV/bin/python" -m tests.mutants.campaign "$@"
