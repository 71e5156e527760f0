#!/usr/bin/env bash
# What can be said about the code without running it.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
if command -v cargo-deny >/dev/null; then
    cargo deny --all-features check bans licenses sources
else
    echo "cargo-deny is not installed: licences and sources were not checked (cargo install cargo-deny)"
fi
(cd web && npm run --silent check)
