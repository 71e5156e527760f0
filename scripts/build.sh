#!/usr/bin/env bash
# Builds the pages (if their sources are newer) and the release binary, which embeds them.
set -euo pipefail
cd "$(dirname "$0")/.."
newest() { find "$@" -type f -printf '%T@\n' 2>/dev/null | sort -n | tail -1; }
sources=$(newest web/src web/public web/*.html web/*.json web/*.ts)
built=$(stat -c %Y web/dist/index.html 2>/dev/null || echo 0)
if [ "${sources%.*}" -ge "${built%.*}" ]; then
    (cd web && npm run --silent build)
fi
cargo build --release --quiet --bin waylog
