#!/usr/bin/env bash
# Installs what a fresh Debian machine lacks: scripts/setup.sh build|run|test
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-build}

need=()
has() { command -v "$1" >/dev/null 2>&1; }
package() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# For Kafka's client: TLS, and what its build asks for.
package libssl-dev || need+=(libssl-dev)
has pkg-config || need+=(pkg-config)
has make || need+=(make)

case $what in
run | test)
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || has initdb || need+=(postgresql)
    ;;
esac
if [ "$what" = test ]; then
    has chromium || need+=(chromium)
    has chromedriver || need+=(chromium-driver)
    # Programs that are not ours read our exports; analysts may have PostGIS.
    has gpsbabel || need+=(gpsbabel)
    has ogr2ogr || need+=(gdal-bin)
    compgen -G '/usr/share/postgresql/*/extension/postgis.control' >/dev/null || need+=(postgresql-postgis)
    python3 -c 'import ensurepip' 2>/dev/null || need+=(python3-venv)
fi

if [ ${#need[@]} -gt 0 ]; then
    echo "installing Debian packages: ${need[*]}"
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    if ! has apt-get; then
        echo "this is not a Debian system: install ${need[*]} by its own means, then run again" >&2
        exit 1
    fi
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends \
        "${need[@]}" >/dev/null
fi

for tool in cargo node npm cc; do
    has "$tool" || { echo "$tool is missing: see the README, \"What it needs\"" >&2; exit 1; }
done
if ! cargo clippy --version >/dev/null 2>&1 || ! cargo fmt --version >/dev/null 2>&1; then
    if [ "$what" != run ]; then
        rustup component add clippy rustfmt
    fi
fi

# The pages' packages, once for each lock file.
stamp=web/node_modules/.waylog-lock
if ! cmp -s web/package-lock.json "$stamp" 2>/dev/null; then
    echo "installing the web pages' packages"
    (cd web && npm ci --no-audit --no-fund --loglevel=error)
    cp web/package-lock.json "$stamp"
fi

# Python that reads our exports, once for each list of packages.
if [ "$what" = test ] && ! cmp -s tests/exports/requirements.txt .venv/waylog-requirements 2>/dev/null; then
    echo "installing the Python packages that read exports"
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --no-deps \
        -r tests/exports/requirements.txt
    cp tests/exports/requirements.txt .venv/waylog-requirements
fi
