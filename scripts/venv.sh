# Sourced by the other scripts: makes .venv in the project's root ready and sets VENV to it.
# shellcheck shell=bash
# Usage: prepare_venv EXTRAS, where EXTRAS is "" or "[dev]". Does nothing when nothing changed.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local name
    for name in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        if [ -n "$name" ] && is_new_enough "$name"; then
            printf '%s\n' "$name"
            return 0
        fi
    done
    echo "raftzmq needs Python 3.11 or newer, and none was found on PATH." >&2
    echo "Install one (Debian, Ubuntu: apt install python3 python3-venv), or name it: PYTHON=/path/to/python3.12 $0" >&2
    return 1
}

prepare_venv() {
    local extras="$1" python stamp wanted
    if ! { [ -x "$VENV/bin/python" ] && is_new_enough "$VENV/bin/python"; }; then
        python="$(find_python)" || exit 1
        rm -rf "$VENV"
        if ! "$python" -m venv "$VENV"; then
            rm -rf "$VENV"
            echo "$python could not make $VENV. On Debian and Ubuntu: apt install python3-venv" >&2
            exit 1
        fi
    fi
    # Installing takes seconds even when there is nothing to do, so a stamp of the inputs decides.
    wanted="$extras $(cat "$ROOT/setup.cfg" "$ROOT/pyproject.toml" "$ROOT/constraints.txt" | cksum)"
    stamp="$VENV/.raftzmq-installed"
    if [ ! -f "$stamp" ] || ! grep -qxF -- "$wanted" "$stamp"; then
        echo "Installing raftzmq$extras into $VENV (once) ..." >&2
        if ! "$VENV/bin/python" -m pip install -q --disable-pip-version-check \
            -c "$ROOT/constraints.txt" -e "$ROOT$extras"; then
            echo "pip could not install raftzmq$extras into $VENV (see above)." >&2
            exit 1
        fi
        printf '%s\n' "$wanted" >>"$stamp"
    fi
}
