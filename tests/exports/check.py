"""Reads one export in every format with programs that are not ours, and compares what they found.

    check.py FOLDER

FOLDER holds `expected.json`, a list of fixes by courier and time, and the export as `export.csv`,
`.json`, `.geojson`, `.gpx` and `.parquet`. Ends with an error at the first difference; prints what
was compared.
"""

import csv
import json
import math
import struct
import subprocess
import sys
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import duckdb
from lxml import etree

NUMBERS = ["lat", "lon", "accuracy_m", "speed_mps", "heading_deg", "altitude_m", "battery_pct"]
GPX = "{http://www.topografix.com/GPX/1/1}"
TRACKPOINT = "{http://www.garmin.com/xmlschemas/TrackPointExtension/v2}"


def milliseconds(text):
    """Of a time with or without a zone, as each program writes it; all of ours are UTC."""
    text = text.strip().replace("/", "-").replace(" ", "T").removesuffix("Z").removesuffix("+00")
    return round(datetime.fromisoformat(text + "+00:00").timestamp() * 1000)


def number(value):
    return None if value in ("", None) else float(value)


def same(what, found, expected, columns, digits=7):
    """Both are lists of dictionaries; `columns` of them are compared, in order."""
    if len(found) != len(expected):
        sys.exit(f"{what}: {len(found)} fixes, expected {len(expected)}")
    for n, (ours, theirs) in enumerate(zip(expected, found)):
        for column in columns:
            a, b = ours[column], theirs[column]
            if isinstance(a, float) or isinstance(b, float):
                fine = a is not None and b is not None and math.isclose(a, b, rel_tol=0, abs_tol=0.6 * 10**-digits)
            else:
                fine = a == b
            if not fine:
                sys.exit(f"{what}, fix {n}, {column}: {b!r}, expected {a!r}")
    print(f"{what}: {len(found)} fixes, {', '.join(columns)}")


def from_text(row):
    """A row of a CSV file with our columns."""
    fix = {name: number(row[name]) for name in NUMBERS if name in row}
    return fix | {"courier_id": row.get("courier_id"), "fix_time": milliseconds(row["fix_time"])}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr}")


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def check_csv(folder, expected):
    found = [from_text(row) for row in rows(folder / "export.csv")]
    same("Python csv", found, expected, ["courier_id", "fix_time", *NUMBERS])


def check_json(folder, expected):
    found = json.loads((folder / "export.json").read_text())["items"]
    for fix in found:
        fix["fix_time"] = milliseconds(fix["fix_time"])
        fix |= {name: number(fix[name]) for name in NUMBERS}
    same("Python json", found, expected, ["courier_id", "fix_time", *NUMBERS])


def check_geojson(folder, expected):
    out = folder / "ogr-geojson.csv"
    run("ogr2ogr", "-f", "CSV", out, folder / "export.geojson", "-lco", "GEOMETRY=AS_XY")
    found = [from_text(row | {"lon": row["X"], "lat": row["Y"]}) for row in rows(out)]
    same("ogr2ogr on GeoJSON", found, expected, ["courier_id", "fix_time", *NUMBERS])


def check_gpx(folder, expected):
    # GPX 1.1 ends just before 180 degrees.
    expected = [fix | {"lon": -180.0} if fix["lon"] == 180 else fix for fix in expected]
    file = folder / "export.gpx"
    # The package is only asked where it lies: importing it wants more than its schema.
    package = Path(find_spec("gpx").origin).parent
    schema = etree.XMLSchema(etree.parse(package / "gpx.xsd"))
    document = etree.parse(file)
    schema.assertValid(document)
    names = [name.text for name in document.iterfind(f"{GPX}trk/{GPX}name")]
    couriers = list(dict.fromkeys(fix["courier_id"] for fix in expected))
    if names != couriers:
        sys.exit(f"GPX: tracks {names}, expected {couriers}")
    print(f"GPX 1.1 schema: valid, {len(names)} tracks")
    extension = f"{GPX}extensions/{TRACKPOINT}TrackPointExtension/{TRACKPOINT}"
    found = [
        {
            "fix_time": milliseconds(fix.findtext(f"{GPX}time")),
            "speed_mps": number(fix.findtext(f"{extension}speed")),
            "heading_deg": number(fix.findtext(f"{extension}course")),
        }
        for fix in document.iter(f"{GPX}trkpt")
    ]
    same("lxml on GPX", found, expected, ["fix_time", "speed_mps", "heading_deg"])

    out = folder / "ogr-gpx.csv"
    run("ogr2ogr", "-f", "CSV", out, file, "track_points", "-lco", "GEOMETRY=AS_XY")
    found = [
        {"lon": float(r["X"]), "lat": float(r["Y"]), "altitude_m": number(r["ele"]), "fix_time": milliseconds(r["time"])}
        for r in rows(out)
    ]
    same("ogr2ogr on GPX", found, expected, ["fix_time", "lat", "lon", "altitude_m"])

    out = folder / "gpsbabel.csv"
    run("gpsbabel", "-t", "-i", "gpx", "-f", file, "-o", "unicsv,utc=0", "-F", out)
    found = [
        {
            "lon": float(r["Longitude"]),
            "lat": float(r["Latitude"]),
            "altitude_m": number(r["Altitude"]),
            "fix_time": milliseconds(f"{r['Date']} {r['Time']}"),
        }
        for r in rows(out)
    ]
    # unicsv keeps six digits of a degree and one of a metre.
    same("gpsbabel", found, expected, ["fix_time", "lat", "lon"], digits=6)
    same("gpsbabel", found, expected, ["altitude_m"], digits=1)


def check_parquet(folder, expected):
    file = str(folder / "export.parquet")
    query = f"select courier_id, epoch_ms(fix_time), {', '.join(NUMBERS)}, geometry::blob from '{file}'"
    found = []
    for courier, fix_time, *numbers, geometry in duckdb.sql(query).fetchall():
        order, kind, lon, lat = struct.unpack("<BIdd", geometry)
        fix = dict(zip(NUMBERS, map(number, numbers)))
        if (order, kind, lon, lat) != (1, 1, fix["lon"], fix["lat"]):
            sys.exit(f"Parquet: the geometry {geometry!r} is not the point of {fix}")
        found.append(fix | {"courier_id": courier, "fix_time": fix_time})
    same("DuckDB on Parquet", found, expected, ["courier_id", "fix_time", *NUMBERS])

    kinds = duckdb.sql(f"select distinct typeof(geometry) from '{file}'").fetchall()
    if kinds != [("GEOMETRY('OGC:CRS84')",)]:
        sys.exit(f"GeoParquet: DuckDB takes the geometries for {kinds}")
    codecs = duckdb.sql(f"select distinct compression from parquet_metadata('{file}')").fetchall()
    if codecs != [("ZSTD",)]:
        sys.exit(f"Parquet: compressed with {codecs}, expected ZSTD")
    metadata = duckdb.sql(f"select key, value from parquet_kv_metadata('{file}')").fetchall()
    geo = json.loads(dict(metadata)[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    if (geo["version"], column["encoding"], column["geometry_types"]) != ("1.1.0", "WKB", ["Point"]):
        sys.exit(f"GeoParquet: {geo}")
    print("GeoParquet 1.1: points as WKB, zstd")


def main():
    folder = Path(sys.argv[1])
    expected = json.loads((folder / "expected.json").read_text())
    for fix in expected:
        fix |= {name: number(fix[name]) for name in NUMBERS}
    for check in [check_csv, check_json, check_geojson, check_gpx, check_parquet]:
        check(folder, expected)


main()
