#!/usr/bin/env bash
# make run: from a clean machine to a moving map. Ctrl-C stops everything; what was stored stays in
# var/ and a second run goes on with it.
set -euo pipefail
cd "$(dirname "$0")/.."
waylog=${CARGO_TARGET_DIR:-target}/release/waylog
began=$SECONDS
say() { printf '[%3d s] %s\n' $((SECONDS - began)) "$1"; }

say 'looking for what is missing'
scripts/setup.sh run
say 'building the pages and the program (a first build takes some minutes)'
scripts/build.sh

mkdir -p var
chmod 755 var
if [ ! -s var/admin.key ]; then
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >var/admin.key)
fi
WAYLOG__ADMIN_KEY=$(cat var/admin.key)
export WAYLOG__ADMIN_KEY
export WAYLOG__DATA_DIR=${WAYLOG__DATA_DIR:-var}
port=${PORT:-8080}
join=()
if [ -n "${LAN:-}" ]; then
    address=$(hostname -I | awk '{print $1}')
    export WAYLOG__HTTP__LISTEN=0.0.0.0:$port
    export WAYLOG__HTTP__PUBLIC_URL=${WAYLOG__HTTP__PUBLIC_URL:-http://$address:$port}
    join=(--join)
else
    export WAYLOG__HTTP__LISTEN=${WAYLOG__HTTP__LISTEN:-127.0.0.1:$port}
fi
url=http://127.0.0.1:$port

say 'starting'
pids=()
stop() {
    trap '' INT TERM
    # The simulator first, so that it does not complain about the server's end.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    exit "${1:-0}"
}
trap 'echo; say "stopping"; stop 0' INT TERM
"$waylog" serve &
pids+=($!)
"$waylog" demo --url "$url" --wait-ready || stop 1
WAYLOG_API_KEY=$WAYLOG__ADMIN_KEY "$waylog" simulate --url "$url" \
    --couriers "${COURIERS:-200}" --state "$WAYLOG__DATA_DIR/simulate" &
pids+=($!)
"$waylog" demo --url "$url" "${join[@]}" || stop 1
say 'running; Ctrl-C stops'
wait -n || true
say 'a process has ended; stopping the other'
stop 1
