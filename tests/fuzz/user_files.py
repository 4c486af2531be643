"""Broken files of regions and points: every format that a user may name."""

from __future__ import annotations

import copy
import functools
import json
import random
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import shapely

from tasks.raster import reader_process
from tasks.raster.points import read_points
from tasks.raster.region import read_region
from tests.fuzz.fuzzed import MEMORY_MB, Fuzzed

ODD = (
    *(
        None,
        True,
        -1,
        0,
        2**63,
        -(2**64),
        10**400,
        1e308,
        -0.0,
        float("nan"),
        float("inf"),
        "",
        "x" * 5000,
        "\x00\u202e",
    ),
    *([], {}, [[]], {"type": "Point"}, "NaN", "1e999", [1, 2, 3, 4, 5], "http://127.0.0.1:1/a", "+init=/dev/zero:1"),
)
Given = tuple[Callable[[Path], object], Path]


def read(given: Given) -> None:
    """Read a file as a flow does. The process that reads it has the same limit of memory."""
    reader, path = given
    try:
        reader(path)
    finally:
        other = reader_process._reader
        if other is not None and other.usable:
            status = Path(f"/proc/{other.process.pid}/status").read_text(encoding="ascii")
            peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
            if peak > MEMORY_MB:
                reader_process._end()
                raise AssertionError(f"the process that reads used {peak:,.0f} MB")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return bytes that were flipped, cut, repeated, removed, or replaced by numbers that are too large."""
    content = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 5, 50))):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[at:]
        elif kind == 2:
            content[at : at + 4] = rng.choice(
                (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), bytes(8))
            )
        elif kind == 3:
            content[at:at] = content[at : at + rng.randrange(1, 2000)]
        elif kind == 4:
            del content[at : at + rng.randrange(1, 200)]
        elif kind == 5:
            content[at:at] = rng.randbytes(rng.randrange(1, 50))
        else:
            digits = rng.choice((b"9" * 30, b"-1", b"1e400", b"NaN", b"0", b"9" * 5000))
            content[at : at + rng.randrange(3)] = digits
    return bytes(content)


def encoded(text: str, rng: random.Random) -> bytes:
    name = rng.choice(("utf-8",) * 8 + ("utf-16", "utf-8-sig", "utf-32", "cp1252", "utf-16-be", "cp037"))
    return text.encode(name, "replace")


def odd_tree(value: Any, rng: random.Random, changes: int) -> Any:
    """Return JSON in which some values are replaced by odd ones."""
    for _ in range(changes):
        at: Any = value
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.8:
                at = at[key]
                continue
            if isinstance(at, dict) and rng.random() < 0.2:
                del at[key]
            else:
                at[key] = deep(rng) if rng.random() < 0.1 else copy.deepcopy(rng.choice(ODD))
            break
    return value


def deep(rng: random.Random) -> Any:
    value: Any = []
    for _ in range(rng.choice((10, 300, 600))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def collection(rng: random.Random) -> dict[str, Any]:
    def place() -> list[float]:
        return [rng.uniform(-180, 180), rng.uniform(-85, 85)]

    def geometry() -> dict[str, Any]:
        x, y = place()
        ring = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y]]
        return rng.choice(
            (
                {"type": "Point", "coordinates": [x, y]},
                {"type": "MultiPoint", "coordinates": [[x, y], [y, x / 3]]},
                {"type": "Polygon", "coordinates": [ring]},
                {"type": "MultiPolygon", "coordinates": [[ring], [ring]]},
                {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [x, y]}]},
            )
        )

    crs = {"type": "name", "properties": {"name": rng.choice(("EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84"))}}
    features = [
        {"type": "Feature", "id": n, "properties": {"id": f"p{n}", "n": n, "list": [1]}, "geometry": geometry()}
        for n in range(rng.randrange(1, 6))
    ]
    return {"type": "FeatureCollection", "features": features} | ({"crs": crs} if rng.random() < 0.3 else {})


@functools.cache
def warm() -> None:
    """Start the process that reads, and import what readers import: the seconds of the first input are its own."""
    with tempfile.TemporaryDirectory() as name:
        for path in (Path(name) / "points.gpkg", Path(name) / "points.gpkg.zip"):
            path.write_bytes(samples()[path.name])
            read_points(path)


def make_geojson(rng: random.Random, folder: Path) -> Given:
    warm()
    value = odd_tree(collection(rng), rng, rng.choice((0, 1, 1, 2, 4)))
    lines = rng.random() < 0.2 and isinstance(value.get("features"), list)
    text = "\n".join(map(json.dumps, value["features"])) if lines else json.dumps(value)
    if rng.random() < 0.05:
        depth = rng.choice((1_000, 100_000))
        text = text.replace('"id"', '"d": ' + "[" * depth + "]" * depth + ', "id"', 1)
    data = encoded(text, rng)
    path = folder / f"a{rng.choice(('.geojson', '.json', '.geojsonl', '.vrt', ''))}"
    path.write_bytes(mutated(data, rng) if rng.random() < 0.4 else data)
    return rng.choice((read_points, read_region)), path


def make_csv(rng: random.Random, folder: Path) -> Given:
    separator = rng.choice(",;\t|")
    header = rng.choice(
        (["id", "lon", "lat", "v"], ["x", "y"], ["Longitude", "Latitude"], ["lon", "lat", "lat", '"a"'])
    )
    rows, mark = [header], rng.choice(".,") if separator == ";" else "."
    for n in range(rng.randrange(0, 30)):
        row = [f"p{n}"] * len(header)
        for at, name in enumerate(header):
            if name.lower()[:1] in {"l", "x", "y"}:
                row[at] = f"{rng.uniform(-90, 90):.5f}".replace(".", mark)
        rows.append(row)
    for _ in range(rng.choice((0, 1, 2, 5))):
        row = rng.choice(rows)
        odd = rng.choice(
            (*map(str, ODD[:16]), '"', '""', '"a', "a" * 200_000, "\x00", "\r", "1,5", "\u22125", "\n\n", "١٢")
        )
        row[rng.randrange(len(row))] = odd
        if rng.random() < 0.3:
            row += [odd] * (rng.choice((1, 3, 1000)) if len(odd) < 100 else 1)
    text = rng.choice(("\n", "\r\n", "\r")).join(separator.join(row) for row in rows)
    data = encoded(text, rng)
    path = folder / f"a{rng.choice(('.csv', '.tsv', '.txt'))}"
    path.write_bytes(mutated(data, rng) if rng.random() < 0.4 else data)
    return read_points, path


@functools.cache
def samples() -> dict[str, bytes]:
    """A small valid file of each format, by its name."""
    points = geopandas.GeoDataFrame(
        {"id": ["a", "b", "ç"], "n": [1, 2, 3]},
        geometry=[shapely.Point(1, 2), shapely.Point(3, 4), shapely.Point(5, 6)],
        crs="EPSG:4326",
    )
    areas = points.set_geometry([point.buffer(0.5, quad_segs=2) for point in points.geometry])
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, frame in {"points": points, "areas": areas}.items():
            for suffix in SUFFIXES[:9]:
                path = folder / f"{kind}{suffix}"
                if suffix == ".parquet":
                    frame.to_parquet(path)
                elif suffix != ".gpx":
                    frame.to_file(path)
                elif kind == "points":
                    frame[["geometry"]].to_file(path, driver="GPX", layer="waypoints")
        for kind in ("points", "areas"):
            for suffix, parts in PACKED.items():
                path = folder / f"{kind}{suffix}.zip"
                with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                    for part in parts:
                        archive.write(folder / f"{kind}{part}", f"{'doc' if suffix == '.kmz' else kind}{part}")
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            found[path.name.replace(".kmz.zip", ".kmz")] = path.read_bytes()
    return found


def make_file(rng: random.Random, folder: Path) -> Given:
    if reader_process._reader is None or not reader_process._reader.usable:  # the last input ended it
        warm.cache_clear()
    warm()
    name = rng.choice([name for name in samples() if name.endswith(SUFFIXES)])
    for other, data in samples().items():  # the parts of a Shapefile lie beside it
        if Path(other).stem == Path(name).stem and name.endswith((".shp", ".mif", ".gml")):
            (folder / other).write_bytes(mutated(data, rng) if rng.random() < 0.3 else data)
    data = samples()[name]
    if name.endswith((".zip", ".kmz")) and rng.random() < 0.5:
        with zipfile.ZipFile(folder / "inner", "w", zipfile.ZIP_DEFLATED) as archive:
            for other, part in samples().items():
                if Path(other).stem == "points" and rng.random() < 0.4:
                    archive.writestr(other, mutated(part, rng))
        data = (folder / "inner").read_bytes()
    else:
        data = mutated(data, rng)
    path = folder / (name if rng.random() < 0.9 else f"a{rng.choice(SUFFIXES)}")
    path.write_bytes(data)
    return read_points if "points" in name else read_region, path


SUFFIXES = (".gpkg", ".fgb", ".kml", ".gml", ".sqlite", ".shp", ".mif", ".parquet", ".gpx", ".zip", ".kmz")
PACKED = {".shp": (".shp", ".dbf", ".shx", ".prj"), ".kmz": (".kml",), ".gpkg": (".gpkg",)}
KINDS = {
    "geojson": Fuzzed(make_geojson, read),
    "csv": Fuzzed(make_csv, read),
    "files": Fuzzed(make_file, read),
}
