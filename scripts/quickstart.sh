#!/usr/bin/env bash
# From a fresh clone to a running cluster whose leader gets killed under load, in one command.
# Arguments go to `raftzmq demo`.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv ""
exec "$VENV/bin/raftzmq" demo "$@"
