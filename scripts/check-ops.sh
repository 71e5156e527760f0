#!/usr/bin/env bash
# What operators get, checked without a server: the alert rules and their tests, the dashboard's
# expressions, systemd units, compose.yaml, the Dockerfile's sources. What this machine cannot check is
# said as SKIPPED; with CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
skipped=0
skip() {
    echo "SKIPPED: $1"
    skipped=$((skipped + 1))
}

# promtool alone, out of Debian's package, so that no daemon is installed with it.
get_promtool() {
    command -v promtool && return
    local own=var/tools/promtool
    if [ ! -x $own ]; then
        mkdir -p var/tools
        (cd "$scratch" && apt-get download prometheus >/dev/null 2>&1) || return 1
        dpkg-deb --fsys-tarfile "$scratch"/prometheus_*.deb |
            tar -x -O ./usr/bin/promtool >"$own.new" || return 1
        chmod +x "$own.new"
        mv "$own.new" $own
    fi
    echo "$PWD/$own"
}

if promtool=$(get_promtool); then
    (cd config/prometheus && "$promtool" check rules alerts.yml && "$promtool" test rules alerts.test.yml)
    # The dashboard's expressions as rules, so that promtool reads them.
    node - config/grafana/waylog.json >"$scratch/dashboard.yml" <<'JS'
const board = JSON.parse(require("fs").readFileSync(process.argv[2], "utf8"));
const lines = ["groups:", "  - name: dashboard", "    rules:"];
let n = 0;
for (const panel of board.panels)
    for (const target of panel.targets ?? []) {
        const expr = target.expr.replaceAll("$__rate_interval", "5m").replaceAll("$instance", ".*");
        lines.push(`      - record: panel_${n++}`, `        expr: ${JSON.stringify(expr)}`);
    }
if (n === 0) throw new Error("the dashboard has no expressions");
console.log(lines.join("\n"));
JS
    "$promtool" check rules "$scratch/dashboard.yml"
else
    skip "alert rules and dashboard: Debian's package prometheus, which has promtool, cannot be had"
fi

if command -v systemd-analyze >/dev/null; then
    mkdir "$scratch/units"
    for unit in config/systemd/*; do
        sed 's#/usr/local/bin/waylog#/bin/true#' "$unit" >"$scratch/units/$(basename "$unit")"
    done
    cp "$scratch/units/waylog@.service" "$scratch/units/waylog@live-map.service"
    (cd "$scratch/units" && SYSTEMD_UNIT_PATH=$PWD: systemd-analyze verify --man=no \
        waylog.service waylog@live-map.service waylog-backup.service waylog-backup.timer)
    for unit in waylog.service waylog@live-map.service waylog-backup.service; do
        # 10 is an unconfined root, 0 may do nothing at all.
        systemd-analyze security --offline=true --no-pager --threshold=30 "$scratch/units/$unit" |
            tail -1
    done
else
    skip "systemd units: there is no systemd-analyze"
fi

if docker compose version >/dev/null 2>&1; then
    WAYLOG_ADMIN_KEY=x POSTGRES_PASSWORD=x docker compose -f compose.yaml --profile kafka config --quiet
    echo "compose.yaml: as docker compose wants it"
elif python3 -c 'import yaml' 2>/dev/null; then
    python3 - <<'PY'
import yaml
services = yaml.safe_load(open("compose.yaml"))["services"]
for name, service in services.items():
    assert "image" in service, name
    for other in service.get("depends_on", {}):
        assert other in services, f"{name} depends on {other}"
        assert "healthcheck" in services[other], f"{other} has no healthcheck"
print(f"compose.yaml: {len(services)} services, as YAML; docker compose has not read it")
PY
else
    skip "compose.yaml: there is neither docker compose nor Python's yaml"
fi

missing=0
while read -r source; do
    [ -e "$source" ] || { echo "Dockerfile copies $source, which does not exist" >&2; missing=1; }
done < <(sed -nE 's/^COPY (--chown=\S+ )?([^-].*) \S+$/\2/p' Dockerfile | tr ' ' '\n')
[ $missing = 0 ] || exit 1
user=$(sed -nE 's/^USER (.*)/\1/p' Dockerfile | tail -1)
[ -n "$user" ] && [ "$user" != root ] || { echo "the Dockerfile's last stage runs as root" >&2; exit 1; }
echo "Dockerfile: its sources exist, and it runs as $user; no image was built"

if [ $skipped -gt 0 ]; then
    echo "$skipped of 4 checks SKIPPED"
    [ "${CI:-}" != true ] || exit 1
fi
