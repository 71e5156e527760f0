#!/usr/bin/env bash
# Every benchmark under benches/, release build; each prints what it compares with in the same run.
# Those that want Postgres get a private one with durable settings.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/postgres.sh
dir=$(mktemp -d /tmp/waylog-bench.XXXXXX)
chmod 755 "$dir"
trap 'stop_postgres; rm -rf "$dir"' EXIT
PG_SYNCHRONOUS_COMMIT=on start_postgres "$dir/pg"
export WAYLOG_TEST_DATABASE_URL=$DATABASE_URL
for bench in benches/*.rs; do
    name=$(basename "$bench" .rs)
    printf '\n== %s\n' "$name"
    cargo bench --quiet --bench "$name"
done
