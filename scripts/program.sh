# Sourced by scripts that are a help text around a Python program. They define usage() and call
#     run_program FILE.py ARGUMENTS...
# with a file beside them; --help anywhere shows the text. Never returns.
# shellcheck shell=bash

run_program() {
    local here program="$1" argument
    shift
    for argument in "$@"; do
        case "$argument" in --help | -h) usage; exit 0 ;; esac
    done
    here="$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)"
    # shellcheck source=scripts/venv.sh
    . "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
    prepare_venv ""
    exec "$VENV/bin/python" "$here/$program" "$@"
}
