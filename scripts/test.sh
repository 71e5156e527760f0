#!/usr/bin/env bash
# All tests. Starts a private Postgres and a Kafka broker, ends them, and says how long each step took.
# Where Kafka's jars cannot be had its tests are counted as skipped, which fails the run if CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/postgres.sh

began=$SECONDS
step() { printf '\n== %s (%d s so far)\n' "$1" $((SECONDS - began)); }

dir=$(mktemp -d /tmp/waylog-test.XXXXXX)
chmod 755 "$dir"
trap 'stop_kafka; stop_postgres; rm -rf "$dir"' EXIT

stop_kafka() { [ ! -d "$dir/kafka" ] || scripts/kafka.sh stop --dir "$dir/kafka"; }
# A port that is free, with those that kafka.sh counts from it.
free_port() {
    local port offset
    while :; do
        port=$((20000 + RANDOM % 10000))
        for offset in 0 100 200; do
            ! (exec 3<>"/dev/tcp/127.0.0.1/$((port + offset))") 2>/dev/null || continue 2
        done
        echo "$port"
        return
    done
}

step 'web: pages'
(cd web && npm run --silent build)
step 'formatting and clippy'
cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
step 'web: types and tests'
(cd web && npm run --silent check && npm test --silent && npm run --silent budget)
step 'what operators get: alerts, dashboard, units, containers'
scripts/check-ops.sh
step 'Rust tests'
start_postgres "$dir/pg"
export WAYLOG_TEST_DATABASE_URL=$DATABASE_URL
port=$(free_port)
export WAYLOG_TEST_SKIPPED=$dir/skipped
if scripts/kafka.sh start --secure --dir "$dir/kafka" --port "$port"; then
    export WAYLOG_TEST_KAFKA=127.0.0.1:$port WAYLOG_TEST_KAFKA_DIR=$dir/kafka
elif [ $? = 69 ]; then
    export WAYLOG_TEST_KAFKA=none
else
    exit 1
fi
cargo test --workspace --no-fail-fast
if [ -s "$WAYLOG_TEST_SKIPPED" ]; then
    printf '\nSKIPPED: %d tests, as there is no Kafka here:\n' "$(wc -l <"$WAYLOG_TEST_SKIPPED")"
    sort "$WAYLOG_TEST_SKIPPED" | sed 's/^/    /'
    [ "${CI:-}" != true ] || { echo 'CI must not skip them' >&2; exit 1; }
fi
step 'done'
