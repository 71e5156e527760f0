#!/usr/bin/env bash
# All tests. Starts a private Postgres, ends it, and says how long each step took.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/postgres.sh

began=$SECONDS
step() { printf '\n== %s (%d s so far)\n' "$1" $((SECONDS - began)); }

dir=$(mktemp -d /tmp/waylog-test.XXXXXX)
chmod 755 "$dir"
trap 'stop_postgres; rm -rf "$dir"' EXIT

step 'web: pages'
(cd web && npm run --silent build)
step 'formatting and clippy'
cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
step 'web: types and tests'
(cd web && npm run --silent check && npm test --silent && npm run --silent budget)
step 'Rust tests'
start_postgres "$dir/pg"
export WAYLOG_TEST_DATABASE_URL=$DATABASE_URL
cargo test --workspace --no-fail-fast
step 'done'
