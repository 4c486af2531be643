"""Places and sizes: CRS by code and by WKT, tiles in parts, beyond 180 degrees, the largest request."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyproj
from affine import Affine
from odc.geo.geobox import GeoBox

from tasks.doctor.asking import NORTH, WEST, Asking, grid_json, square
from tasks.doctor.catalogue import ELEVATION
from tasks.doctor.check import Check, Outcome, fail, ok, warn
from tasks.doctor.pixels import FIRST
from tasks.earthengine.errors import EarthEngineError, TooHeavy
from tasks.plan.answer_size import MAX_REQUEST_BYTES
from tasks.plan.choices import MAX_SIDE
from tasks.raster.crs import SINUSOIDAL, crs_of

AREA = "Places and sizes"
SPLIT = "Tiles that are split may differ from whole ones: give a smaller `tile_size`, and report this line."
UTM = GeoBox((16, 16), Affine(100, 0, 741000, 0, -100, 7200000), "EPSG:32721")
"""In metres, near the place of the other checks."""
WIDE = GeoBox((32, 32), Affine(0.002, 0, WEST, 0, -0.002, NORTH), "EPSG:4326")
SIZES = {"uint8": ("Uint8", 1, 1), "int16": ("Int16", 2, 3), "float64": ("Double", 8, 2)}
"""NumPy type: its name at Earth Engine, its bytes, number of bands in the request."""
COUNTED = (
    "Plans may be refused, or be cut into more tiles than needed: give a smaller `tile_size`, and report this line."
)


def places(ask: Callable[[], Asking]) -> Iterator[Check]:
    """Yield the checks of grids and sizes."""
    make = functools.partial(Check, area=AREA, needs=(FIRST,), needed=False)
    for name, crs in _systems().items():
        yield make(
            name=name,
            expected="longitudes as PROJ computes them",
            act=functools.partial(system, ask, name, crs),
            remedy=f"Give `crs` in another way than by {name}, and report this line.",
            needed=name == "crsCode",
        )
    yield make(
        name="tile in parts",
        expected="four quarters are equal to the whole",
        act=lambda: parts(ask()),
        needs=(FIRST, "public asset"),
        remedy=SPLIT,
    )
    yield make(
        name="beyond 180 degrees",
        expected="any answer: no job asks for it",
        act=lambda: beyond(ask()),
        remedy="Nothing is to do: no job sends such a request.",
    )
    for kind in SIZES:
        yield make(
            name=f"size of {kind}",
            expected="one row too many is refused, one byte of mask counted for each pixel and band",
            act=functools.partial(counted, ask, kind),
        )
    yield make(
        name="largest request",
        expected=f"just below {MAX_REQUEST_BYTES:,} bytes is answered",
        act=lambda: largest(ask()),
        remedy=COUNTED,
    )
    yield make(name="longest side", expected=f"{MAX_SIDE + 1} x 1 pixels are refused", act=lambda: longest(ask()))


def _systems() -> dict[str, tuple[GeoBox, dict[str, str]]]:
    """Return grids with the CRS as Earth Engine gets it."""
    wkt = _wkt(SINUSOIDAL)
    sinusoidal = GeoBox(
        (16, 16), Affine(231.65635826395825, 0, -5.49e6, 0, -231.65635826395834, -2.81e6), crs_of(SINUSOIDAL)
    )
    return {
        "crsCode": (UTM, {"crsCode": "EPSG:32721"}),
        "crsWkt": (UTM, {"crsWkt": _wkt("EPSG:32721")}),
        "crsWkt without a code": (sinusoidal, {"crsWkt": wkt}),
        "crsCode of MODIS": (sinusoidal, {"crsCode": SINUSOIDAL}),
    }


def _wkt(name: str) -> str:
    return str(pyproj.CRS.from_user_input(crs_of(name).to_wkt()).to_wkt("WKT1_GDAL"))


def system(ask: Callable[[], Asking], name: str, given: tuple[GeoBox, dict[str, str]]) -> Outcome:
    """Fetch the longitudes of pixels in a CRS, and compare them with PROJ's."""
    import ee

    from tasks.raster.crs import transformer

    box, crs = given
    asking = ask()
    data = asking.pixels(ee.Image.pixelLonLat().select("longitude"), "NPY", grid_json(box, crs))
    found = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)["longitude"]
    rows, columns = np.mgrid[0 : box.shape.y, 0 : box.shape.x] + 0.5
    xs, ys = box.affine @ (columns, rows)
    expected, _ = transformer(str(box.crs), "EPSG:4326").transform(xs, ys)
    width = abs(float(expected[0, 1] - expected[0, 0]))
    off = float(np.abs(found - expected).max()) / width
    shown = f"off by up to {off:.4f} pixels"
    if off < 0.01:
        return ok(shown)
    remedy = f"Do not give `crs` by {name}, and report this line."
    return fail(shown, remedy) if name == "crsCode" else warn(shown, remedy)


def parts(asking: Asking) -> Outcome:
    """Fetch a tile whole and in four quarters."""
    whole = _elevation(asking, WIDE)
    half = WIDE.shape.y // 2
    quarters = [[_elevation(asking, _part(x, y, half)) for x in (0, half)] for y in (0, half)]
    joined = np.block(quarters)
    count = int((joined != whole).sum())
    if count:
        return warn(f"{count} of {whole.size} pixels differ", SPLIT)
    return ok(f"equal, {len(np.unique(whole))} different values")


def _part(x: int, y: int, side: int) -> GeoBox:
    return GeoBox((side, side), WIDE.affine @ Affine.translation(x, y), WIDE.crs)


def _elevation(asking: Asking, box: GeoBox) -> Any:
    data = asking.pixels(ELEVATION, "NPY", box, bands=("elevation",))
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)["elevation"]


def beyond(asking: Asking) -> Outcome:
    """Ask for pixels on both sides of 180 degrees."""
    import ee

    box = GeoBox((1, 4), Affine(0.1, 0, 179.8, 0, -0.1, 0), "EPSG:4326")
    try:
        data = asking.pixels(ee.Image.pixelLonLat().select("longitude").unmask(-999), "NPY", box)
    except EarthEngineError as error:
        return ok(f"refused: {error}")
    found = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)["longitude"][0]
    return ok("longitudes " + ", ".join("masked" if each == -999 else f"{each:.2f}" for each in found))


def counted(ask: Callable[[], Asking], kind: str) -> Outcome:
    """Ask for slightly more than the limit, and read from the refusal how the service counts."""
    import ee

    name, size, bands = SIZES[kind]
    image = getattr(ee.Image.constant([1] * bands), f"to{name}")()
    side = 4096
    per_row = side * bands * (size + 1)
    rows = MAX_REQUEST_BYTES // per_row + 1
    try:
        ask().pixels(image, "NPY", square(rows, side), largest=1024, beyond=TooHeavy)
    except TooHeavy as error:
        return _size_words(error, rows * per_row)
    except EarthEngineError as error:
        return warn(f"{type(error).__name__}: {error}", COUNTED)
    return warn("it was answered", COUNTED)


def _size_words(error: TooHeavy, ours: int) -> Outcome:
    if error.status is None:
        return warn(f"a request of {ours:,} bytes was answered", COUNTED)
    stated = re.search(r"request size \((\d+) bytes\)", error.message)
    if stated is None:
        return warn(f"refused, but without its size: {error.message}")
    count = int(stated[1])
    return ok(f"{count:,} bytes, as counted here") if count == ours else warn(f"{count:,} bytes, not {ours:,}", COUNTED)


def largest(asking: Asking) -> Outcome:
    """Ask for slightly less than the limit. Of the answer, only the beginning is read: it costs no transfer."""
    import ee

    side = 2048
    rows = MAX_REQUEST_BYTES // (side * 9)
    try:
        asking.pixels(ee.Image.constant(1).toDouble(), "NPY", square(rows, side), largest=1024, beyond=TooHeavy)
    except TooHeavy as error:
        if error.status is None:
            return ok(f"{rows * side * 9:,} bytes are answered (not read)")
        return warn(str(error), COUNTED)
    return warn("the answer is smaller than its pixels", COUNTED)


def longest(asking: Asking) -> Outcome:
    """Ask for one pixel more on a side than the service allows."""
    import ee

    try:
        asking.pixels(ee.Image.constant(1).toUint8(), "NPY", square(1, MAX_SIDE + 1), largest=1024, beyond=TooHeavy)
    except TooHeavy as error:
        found = error.message if error.status is not None else "it was answered"
        known = "pixel grid dimensions" in error.message.lower()
        return ok("refused in the known words") if known else warn(found, COUNTED)
    return warn("it was answered", COUNTED)
