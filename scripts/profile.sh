#!/usr/bin/env bash
# Where the server's time goes under load: scripts/profile.sh [arguments of loadtest ingest]
#   ROLES=ingest,dispatch (empty: all)  SECONDS_OF=10  OUT=var/profile
# With perf (Debian: linux-perf): by thread and by function, and the samples for a flame graph.
# With samply instead: a profile for its viewer.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-var/profile}
seconds=${SECONDS_OF:-10}
roles=(--roles "${ROLES-ingest,dispatch}")
[ -n "${ROLES-ingest,dispatch}" ] || roles=()
if command -v perf >/dev/null; then tool=perf
elif command -v samply >/dev/null; then tool=samply
else echo "neither perf nor samply is here: apt-get install linux-perf, or cargo install samply" >&2; exit 1; fi
[ $# -gt 0 ] || set -- --fixes 1 --connections 512
cargo build --release --quiet -p waylog -p loadtest

mkdir -p "$out"
dir=$(mktemp -d /tmp/waylog-profile.XXXXXX)
chmod 755 "$dir"
server=
finish() { [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true; rm -rf "$dir"; }
trap finish EXIT
export WAYLOG__ADMIN_KEY=profile-admin-key-0123456789abcdef WAYLOG_API_KEY=profile-admin-key-0123456789abcdef
WAYLOG__DATA_DIR=$dir/data WAYLOG__HTTP__LISTEN=127.0.0.1:0 WAYLOG__TELEMETRY__LOG=warn \
    target/release/waylog serve "${roles[@]}" >"$dir/out" &
server=$!
until grep -q 'listening on' "$dir/out"; do kill -0 "$server"; sleep 0.1; done
url=$(sed -n 's/.*listening on //p' "$dir/out")

target/release/loadtest ingest --url "$url" --pid "$server" --runs 1 --seconds $((seconds + 3)) "$@" &
load=$!
sleep 8 # couriers are made and the warm-up is over
if [ $tool = perf ]; then
    # The whole machine: the kernel's own threads write the disk.
    perf record --quiet --all-cpus --freq 499 --call-graph fp --output "$out/perf.data" -- sleep "$seconds"
    wait $load
    report() { perf report --input "$out/perf.data" --stdio --no-children --call-graph none --percent-limit 0.5 "$@" 2>/dev/null | grep -v '^#' | grep -v '^$'; }
    echo; echo "by process and thread:"; report --sort comm | head -20
    echo; echo "by function:"; report --sort comm,symbol | head -60
    perf script --input "$out/perf.data" >"$out/perf.txt" 2>/dev/null
    echo; echo "$out/perf.txt holds the samples: any flame graph tool reads it"
else
    samply record --save-only --output "$out/profile.json.gz" --pid "$server" --duration "$seconds"
    wait $load
    echo "samply load $out/profile.json.gz shows it"
fi
