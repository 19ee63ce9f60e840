#!/usr/bin/env bash
# Everything that must hold before a commit: style, types, arrows between packages, tests.
# Arguments go to pytest: scripts/test.sh tests/raft -k election
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv "[dev]"
cd "$ROOT"

"$VENV/bin/ruff" check .
"$VENV/bin/mypy"
"$VENV/bin/lint-imports"
"$VENV/bin/python" -m pytest "$@"
