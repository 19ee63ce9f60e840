#!/usr/bin/env bash
# Throws spoilt messages and files at whatever takes them from outside, with fresh seeds.
# scripts/fuzz.sh --minutes 10 [--seed S] [--target peer|client|broker|config|all]
# An input that fails is cut down, written to build/fuzz/, and played again by --replay FILE.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv "[dev]"
cd "$ROOT"
exec "$VENV/bin/python" -m tests.hostile.fuzz "$@"
