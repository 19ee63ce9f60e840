#!/usr/bin/env bash
# Proves the units of config/systemd with a real systemd as PID 1, in a container that sees a
# throw-away overlay of this machine's root: nothing outside the temporary folder changes.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/test-systemd.sh [--keep] [--help]

Boots systemd in systemd-nspawn on an overlay of / (private network, throw-away writes), installs
raftzmq and its units there, and checks, step by step:

  the units verify and are hardened; three nodes and a proxy become active; rows are written and
  read; kill -9 of the leader: systemd restarts it, it catches up, all rows are there; stopping
  the leader is graceful and no write fails; a wrong node name is not restarted in a loop; the
  machine shuts down cleanly.

Needs root, and systemd-nspawn (Debian: package systemd-container; it is installed when absent).
Takes about a minute. Exit code: 0 all steps passed, 1 a step failed, 2 wrong arguments,
3 something is missing on this machine.

  --keep   do not stop the container and keep its files at the end; says how to enter and remove it
TEXT
}

KEEP=no
for argument in "$@"; do
    case "$argument" in
        --help | -h) usage; exit 0 ;;
        --keep) KEEP=yes ;;
        *) echo "unknown argument: $argument" >&2; usage >&2; exit 2 ;;
    esac
done

STEP=0
STARTED=$SECONDS
say() {
    STEP=$((STEP + 1))
    printf '%3ss  %2d. %s\n' "$((SECONDS - STARTED))" "$STEP" "$*"
}
note() { printf '          %s\n' "$*"; }
missing() {
    echo "cannot run: $*" >&2
    exit 3
}

[ "$(id -u)" = 0 ] || missing "this needs root, for the overlay mount and the container; try sudo"
if ! command -v systemd-nspawn >/dev/null; then
    command -v apt-get >/dev/null || missing "systemd-nspawn is not installed, and no apt-get here"
    note "installing systemd-container, for systemd-nspawn"
    # The version that fits the installed systemd: upgrading systemd itself is not our business.
    fitting="systemd-container=$(dpkg-query -W -f='${Version}' systemd 2>/dev/null || true)"
    install() { DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$1"; }
    install "$fitting" >/dev/null 2>&1 \
        || { apt-get update -qq && install "$fitting" >/dev/null; } \
        || missing "apt-get could not install $fitting (see above)"
fi
[ -x /lib/systemd/systemd ] || missing "there is no /lib/systemd/systemd to boot"
grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null \
    || missing "this kernel has no overlay file system"

. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
prepare_venv ""
PREFIX="$("$VENV/bin/python" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))')"
PYTHON="$("$VENV/bin/python" -c 'import os, sys
print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))')"

WORK="$(mktemp -d "${TMPDIR:-/tmp}/raftzmq-systemd.XXXXXX")"
DISK="$WORK/disk"
BOX="$DISK/root"
CONTAINER=""
INIT=""
FAILED=yes
CGROUPS_BEFORE="$(ls -d /sys/fs/cgroup/{,*/}{payload,supervisor} 2>/dev/null || true)"

clean_up() {
    local code=$? leftover
    trap - EXIT
    set +e
    if [ "$FAILED" = yes ] && [ -n "$INIT" ] && kill -0 "$INIT" 2>/dev/null; then
        echo "FAILED in step $STEP. What the services said last:" >&2
        inside journalctl --no-pager -o short-precise -n 60 -u 'raftzmq*' >&2
        inside systemctl --no-pager --full status 'raftzmq*' -n 0 >&2
    fi
    if [ "$KEEP" = yes ] && [ -n "$INIT" ] && kill -0 "$INIT" 2>/dev/null; then
        echo "The container runs on. Enter:  nsenter -t $INIT -a bash"
        echo "Remove: kill -KILL $CONTAINER; umount $BOX $DISK; rm -r $WORK"
        exit "$code"
    fi
    if [ -n "$CONTAINER" ] && kill -0 "$CONTAINER" 2>/dev/null; then
        [ -n "$INIT" ] && kill -s RTMIN+4 "$INIT" 2>/dev/null
        wait_for 20 container_gone || kill -KILL "$CONTAINER"
        wait "$CONTAINER" 2>/dev/null
    fi
    mountpoint -q "$BOX" && { umount "$BOX" || umount -l "$BOX"; }
    mountpoint -q "$DISK" && { umount "$DISK" || umount -l "$DISK"; }
    rm -rf --one-file-system "$WORK"
    # Without a systemd outside, nspawn leaves its two empty cgroups behind.
    for leftover in /sys/fs/cgroup/{,*/}{payload,supervisor}; do
        if [ -d "$leftover" ] && ! grep -qxF "$leftover" <<<"$CGROUPS_BEFORE"; then
            find "$leftover" -depth -type d -exec rmdir {} \; 2>/dev/null
        fi
    done
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
    echo "error: $*" >&2
    exit 1
}
container_gone() { ! kill -0 "$CONTAINER" 2>/dev/null; }
inside() { nsenter -t "$INIT" -a env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LANG=C.UTF-8 "$@"; }
cli() { inside /opt/raftzmq/bin/raftzmq "$@" --config /etc/raftzmq/nodes.toml; }
write() { # quiet unless it fails
    local answer
    answer="$(cli write "$@" 2>&1)" || { echo "$answer" >&2; return 1; }
}
property() { inside systemctl show -P "$2" "$1"; }
wait_for() { # SECONDS COMMAND...: until the command succeeds
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

say "Making an overlay of / under $WORK"
mkdir -p "$DISK"
# On a tmpfs of its own, because an upper folder inside its own lower one is not allowed.
mount -t tmpfs -o size=2g,mode=755 raftzmq-test "$DISK"
mkdir "$DISK/upper" "$DISK/work" "$BOX"
mount -t overlay overlay -o "lowerdir=/,upperdir=$DISK/upper,workdir=$DISK/work" "$BOX"

say "Installing raftzmq in it: /opt/raftzmq, the units, /etc/raftzmq/nodes.toml"
VISIBLE=()
[ -x "$BOX$PYTHON" ] || VISIBLE+=("--bind-ro=$PREFIX")
rm -rf "$BOX/opt/raftzmq" "$BOX/etc/raftzmq" "$BOX/var/lib/raftzmq"
mkdir -p "$BOX/opt/raftzmq/bin" "$BOX/etc/raftzmq"
SITE="$("$VENV/bin/python" -c 'import os, sys, sysconfig
print(os.path.relpath(sysconfig.get_path("purelib"), sys.prefix))')"
# What `python3 -m venv /opt/raftzmq && /opt/raftzmq/bin/pip install .` would leave, without a
# network: the packages come from the project's own venv.
ln -s "$PYTHON" "$BOX/opt/raftzmq/bin/python"
printf 'home = %s\ninclude-system-site-packages = false\n' "$(dirname "$PYTHON")" \
    >"$BOX/opt/raftzmq/pyvenv.cfg"
mkdir -p "$BOX/opt/raftzmq/$SITE"
tar -C "$VENV/$SITE" --exclude='__pycache__' --exclude='__editable__*' --exclude='mypy*' \
    --exclude='ruff*' --exclude='hypothesis*' -cf - . | tar -C "$BOX/opt/raftzmq/$SITE" -xf -
tar -C "$ROOT" --exclude='__pycache__' -cf - raftzmq | tar -C "$BOX/opt/raftzmq/$SITE" -xf -
chown -R root:root "$BOX/opt/raftzmq"
chmod -R a+rX "$BOX/opt/raftzmq"
cat >"$BOX/opt/raftzmq/bin/raftzmq" <<'TEXT'
#!/opt/raftzmq/bin/python
import sys

from raftzmq.cli.main import main

sys.exit(main())
TEXT
chmod 755 "$BOX/opt/raftzmq/bin/raftzmq"
sed 's|"\./raftzmq-data/|"/var/lib/raftzmq/|' "$ROOT/config/nodes.toml" \
    >"$BOX/etc/raftzmq/nodes.toml"
SYSTEM="$BOX/etc/systemd/system"
mkdir -p "$SYSTEM" "$BOX/usr/lib/sysusers.d"
cp "$ROOT/config/systemd/raftzmq@.service" "$ROOT/config/systemd/raftzmq-proxy.service" "$SYSTEM/"
cp "$ROOT/config/systemd/raftzmq.sysusers.conf" "$BOX/usr/lib/sysusers.d/raftzmq.conf"
case "$PREFIX/" in
    /root/* | /home/* | /run/user/*)
        # ProtectHome=yes would hide such an interpreter; tmpfs hides all the rest just the same.
        note "the interpreter lives in $PREFIX: a drop-in lets the services see it"
        for unit in raftzmq@ raftzmq-proxy; do
            mkdir -p "$SYSTEM/$unit.service.d"
            printf '[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths=%s\n' "$PREFIX" \
                >"$SYSTEM/$unit.service.d/interpreter.conf"
        done
        ;;
esac
# Only what raftzmq needs is started: none of this machine's own services and timers.
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >"$SYSTEM/raftzmq-test.target"
ln -sf /dev/null "$SYSTEM/timers.target"
# Kept on the overlay, so that the end of the services can be read after the end of the container.
mkdir -p "$BOX/var/log/journal"

say "Booting systemd as PID 1 of a container with its own loopback network"
systemd-nspawn --quiet --directory="$BOX" --boot --register=no --keep-unit --private-network \
    --link-journal=no --console=pipe --machine="raftzmq-test-$$" "${VISIBLE[@]}" \
    systemd.unit=raftzmq-test.target >"$WORK/boot.log" 2>&1 </dev/null &
CONTAINER=$!
find_init() {
    container_gone && exit 1
    INIT="$(pgrep -P "$CONTAINER" -x systemd)"
}
for _ in $(seq 50); do
    find_init && break
    sleep 0.2
done
[ -n "$INIT" ] || { cat "$WORK/boot.log" >&2; fail "the container did not start"; }
wait_for 60 inside systemctl is-active --quiet raftzmq-test.target \
    || { cat "$WORK/boot.log" >&2; fail "systemd did not finish booting"; }
[ "$(inside cat /proc/1/comm)" = systemd ] || fail "PID 1 of the container is not systemd"
note "$(inside systemctl --version | head -n 1)"

say "Checking the units: systemd-analyze verify, and security not above 2.0 of 10"
inside systemd-sysusers
inside systemd-analyze verify --man=no \
    /etc/systemd/system/raftzmq@n1.service /etc/systemd/system/raftzmq-proxy.service 2>&1 \
    | { grep -E 'raftzmq' || true; } | tee "$WORK/verify.log"
[ ! -s "$WORK/verify.log" ] || fail "systemd-analyze verify complains (see above)"

say "Starting three nodes and the proxy; active means: a leader is known, all is applied"
inside timeout 60 systemctl start raftzmq@n1 raftzmq@n2 raftzmq@n3 raftzmq-proxy \
    || fail "systemctl start did not succeed within 60 s"
for unit in raftzmq@n1 raftzmq@n2 raftzmq@n3 raftzmq-proxy; do
    inside systemctl is-active --quiet "$unit" || fail "$unit is not active"
    exposure="$(inside systemd-analyze security --no-pager "$unit" 2>/dev/null | grep Overall || true)"
    note "$unit: active, user $(inside stat -c %U "/proc/$(property "$unit" MainPID)")," \
        "${exposure#*Overall exposure level for }"
    inside systemd-analyze security --threshold=20 --no-pager "$unit" >/dev/null 2>&1 \
        || fail "$unit is more exposed than 2.0"
done

say "Writing 100 rows and reading them back with the command line"
write "CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT)"
write "INSERT INTO t (note) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
WHERE i < 100) SELECT 'row ' || i FROM n"
rows() { cli read "SELECT count(*) AS c, min(note) AS m FROM t" --format json | tr -d ' \n'; }
has_rows() { rows | grep -q "\"c\":$1[,}]"; }
has_rows 100 || fail "100 rows were written, and this came back: $(rows)"

field() { # NAME FIELD: of the status of a node; leader and term of the cluster with NAME "-"
    cli status --json | "$VENV/bin/python" -c 'import json, sys
seen = json.load(sys.stdin)
part = seen if sys.argv[1] == "-" else seen["nodes"][sys.argv[1]] or {}
print(part.get(sys.argv[2]))' "$1" "$2"
}
caught_up() { # NAME: knows a leader and has applied all that this leader has committed
    local leader
    leader="$(field - leader)"
    [ "$(field "$1" leader)" = "$leader" ] \
        && [ "$(field "$1" applied_index)" -ge "$(field "$leader" commit_index)" ]
}

LEADER="$(field - leader)"
say "kill -9 of the main process of $LEADER, the leader"
PID="$(property "raftzmq@$LEADER" MainPID)"
inside kill -9 "$PID"
write "INSERT INTO t (note) VALUES ('while it was down')" \
    || fail "a write after the kill failed"
note "a write right after it succeeded; $(field - leader) leads now"

say "Waiting for systemd to restart $LEADER and for $LEADER to catch up"
restarted() {
    [ "$(property "raftzmq@$LEADER" NRestarts)" = 1 ] \
        && inside systemctl is-active --quiet "raftzmq@$LEADER"
}
wait_for 30 restarted || fail "$LEADER is not active after one restart"
[ "$(property "raftzmq@$LEADER" MainPID)" != "$PID" ] || fail "$LEADER still is process $PID"
wait_for 30 caught_up "$LEADER" || fail "$LEADER has not caught up"
note "NRestarts=1, process $PID became $(property "raftzmq@$LEADER" MainPID), applied index" \
    "$(field "$LEADER" applied_index) = commit index of the leader"
has_rows 101 || fail "101 rows were written, and this came back: $(rows)"
DOOR="$("$VENV/bin/python" -c 'import sys, tomllib
print(tomllib.load(open(sys.argv[1], "rb"))["nodes"][sys.argv[2]]["client"])' \
    "$BOX/etc/raftzmq/nodes.toml" "$LEADER")"
inside /opt/raftzmq/bin/raftzmq read "SELECT count(*) AS c FROM t" --level stale --format json \
    --connect "$DOOR" | tr -d ' \n' | grep -q '"c":101' \
    || fail "the copy of $LEADER itself does not hold all 101 rows"

LEADER="$(field - leader)"
say "systemctl stop of $LEADER, the leader now: graceful, and no write fails meanwhile"
writing() {
    local n
    for n in $(seq 10); do
        write "INSERT INTO t (note) VALUES ('while stopping $n')" || return 1
    done
}
writing &
WRITING=$!
sleep 1
inside systemctl stop "raftzmq@$LEADER"
[ "$(property "raftzmq@$LEADER" ExecMainStatus)" = 0 ] \
    || fail "$LEADER ended with status $(property "raftzmq@$LEADER" ExecMainStatus)"
[ "$(property "raftzmq@$LEADER" Result)" = success ] \
    || fail "systemd calls the end of $LEADER: $(property "raftzmq@$LEADER" Result)"
wait "$WRITING" || fail "a write failed while the leader was stopped"
has_rows 111 || fail "111 rows were written, and this came back: $(rows)"
note "exit code 0, $(field - leader) leads now, 10 writes meanwhile succeeded"
inside timeout 60 systemctl start "raftzmq@$LEADER" || fail "$LEADER did not start again"
wait_for 30 caught_up "$LEADER" || fail "$LEADER has not caught up"

say "A node that nodes.toml does not name fails with 78, once"
inside systemctl start raftzmq@nobody 2>/dev/null && fail "raftzmq@nobody started"
sleep 2
[ "$(property raftzmq@nobody ExecMainStatus)" = 78 ] \
    || fail "its status is $(property raftzmq@nobody ExecMainStatus), not 78"
[ "$(property raftzmq@nobody NRestarts)" = 0 ] \
    || fail "it was restarted $(property raftzmq@nobody NRestarts) times"

say "kill -9 of the proxy: systemd restarts it, and a write that waits for it succeeds"
inside kill -9 "$(property raftzmq-proxy MainPID)"
write "INSERT INTO t (note) VALUES ('through a new proxy')" \
    || fail "the write failed"
[ "$(property raftzmq-proxy NRestarts)" = 1 ] || fail "the proxy was not restarted"
has_rows 112 || fail "112 rows were written, and this came back: $(rows)"

if [ "$KEEP" = yes ]; then
    FAILED=no
    exit 0
fi

say "Shutting the machine down: systemd stops all services, the container ends"
MACHINE_ID="$(inside cat /etc/machine-id)"
# The manager may close the connection before it answers; what counts is that the container ends.
inside systemctl --no-block poweroff 2>/dev/null || true
wait_for 60 container_gone || fail "the container still runs after 60 s"
code=0
wait "$CONTAINER" || code=$?
[ "$code" = 0 ] || fail "systemd-nspawn ended with $code"
CONTAINER=""
INIT=""
# What systemd itself wrote about the end of each service is in the journal of the container.
for unit in raftzmq@n1 raftzmq@n2 raftzmq@n3 raftzmq-proxy; do
    journalctl -D "$BOX/var/log/journal/$MACHINE_ID" -u "$unit" -n 10 --no-pager -o cat \
        >"$WORK/end.log" 2>/dev/null || fail "the journal of the container cannot be read"
    grep -q "Deactivated successfully" "$WORK/end.log" \
        || { cat "$WORK/end.log" >&2; fail "$unit did not end in order at shutdown"; }
done
note "all four services ended in order"

FAILED=no
echo "All $STEP steps passed in $((SECONDS - STARTED)) s."
