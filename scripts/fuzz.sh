#!/usr/bin/env bash
# Every fuzz target for 60 s (FUZZ_SECONDS). Not part of make test: cargo-fuzz wants a compiler that
# instruments, which RUSTC_BOOTSTRAP=1 allows on a stable one.
set -euo pipefail
cd "$(dirname "$0")/../tests/fuzz"
command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
export RUSTC_BOOTSTRAP=1
for target in fuzz_targets/*.rs; do
    name=$(basename "$target" .rs)
    printf '\n== %s\n' "$name"
    cargo fuzz run --fuzz-dir . "$name" -- -max_total_time="${FUZZ_SECONDS:-60}"
done
