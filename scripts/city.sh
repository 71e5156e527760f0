#!/usr/bin/env bash
# Tiles and road graph of your own city from an OpenStreetMap extract: scripts/city.sh FILE.osm.pbf
# Writes var/city.pmtiles, var/city-roads.osm.pbf and var/city.toml, which waylog serve --config takes.
set -euo pipefail
cd "$(dirname "$0")/.."
pbf=${1:-}
if [ ! -f "$pbf" ]; then
    echo "usage: make city PBF=file.osm.pbf   (an OpenStreetMap extract, as Geofabrik offers them)" >&2
    exit 2
fi
need=()
for tool in tilemaker osmium; do
    command -v "$tool" >/dev/null || need+=("${tool/osmium/osmium-tool}")
done
if [ ${#need[@]} -gt 0 ]; then
    echo "installing Debian packages: ${need[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
command -v pmtiles-convert >/dev/null || {
    python3 -m venv var/venv && var/venv/bin/pip install --quiet pmtiles
    PATH=$PWD/var/venv/bin:$PATH
}
share=$(dpkg -L tilemaker | grep -m1 '/config-openmaptiles.json$' | xargs dirname)
mkdir -p var
echo "cutting out roads, shops and house numbers"
osmium tags-filter --overwrite -o var/city-roads.osm.pbf "$pbf" \
    w/highway n/amenity=restaurant,fast_food,cafe,pharmacy n/addr:housenumber
echo "drawing tiles (the sea is missing without OpenStreetMap's coastline files; see basemap/README.md)"
python3 - "$share/config-openmaptiles.json" >var/city-tiles.json <<'P'
import json, sys
config = json.load(open(sys.argv[1]))
for layer in ("urban_areas", "ice_shelf", "glacier", "ocean"):
    config["layers"].pop(layer, None)
json.dump(config, sys.stdout)
P
tilemaker --input "$pbf" --output var/city.mbtiles --config var/city-tiles.json \
    --process "$share/process-openmaptiles.lua"
rm -f var/city.pmtiles
pmtiles-convert var/city.mbtiles var/city.pmtiles
cat >var/city.toml <<T
[web]
basemap = "$PWD/var/city.pmtiles"

[roads]
file = "$PWD/var/city-roads.osm.pbf"
T
echo "done: waylog serve --config var/city.toml"
