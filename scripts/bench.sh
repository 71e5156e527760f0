#!/usr/bin/env bash
# Every benchmark under benches/, release build; each prints what it compares with in the same run.
# Those that want Postgres get a private one with durable settings; the one that wants Kafka gets a
# broker where its jars can be had.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/postgres.sh
dir=$(mktemp -d /tmp/waylog-bench.XXXXXX)
chmod 755 "$dir"
trap 'stop_postgres; rm -rf "$dir"' EXIT
PG_SYNCHRONOUS_COMMIT=on start_postgres "$dir/pg"
export WAYLOG_TEST_DATABASE_URL=$DATABASE_URL
trap 'scripts/kafka.sh stop --dir "$dir/kafka" || true; stop_postgres; rm -rf "$dir"' EXIT
if scripts/kafka.sh start --dir "$dir/kafka" --port 19092; then
    export WAYLOG_BENCH_KAFKA=127.0.0.1:19092
    cargo build --release --quiet -p waylog
fi
for bench in benches/*.rs benches/*/main.rs; do
    name=$(basename "${bench%/main.rs}" .rs)
    printf '\n== %s\n' "$name"
    cargo bench --quiet --bench "$name"
done
