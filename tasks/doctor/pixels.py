"""Pixels: formats, types, masks and nodata values of small answers, compared with what the decoders assume."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from tasks.doctor.asking import BOX, MASKED, Asking, expected_valid, read_tiff, sample, square
from tasks.doctor.catalogue import ELEVATION
from tasks.doctor.check import Check, Outcome, fail, ok, warn
from tasks.earthengine.expression import with_mask
from tasks.raster.decode import CorruptPixelsError, decode_geotiff, decode_npy

AREA = "Pixels"
VALUE = 7
NODATA = {
    "uint8": ("Uint8", 0.0),
    "int8": ("Int8", -(2.0**7)),
    "uint16": ("Uint16", 0.0),
    "int16": ("Int16", -(2.0**15)),
    "uint32": ("Uint32", 0.0),
    "int32": ("Int32", -(2.0**31)),
    "float32": ("Float", -np.inf),
    "float64": ("Double", -np.inf),
}
"""NumPy type: its name at Earth Engine, and the nodata value of its GeoTIFF (geedim's test against the service)."""
FIRST = "masks are exact"
EXACT = "Pixels of the default `masks=exact` cannot be trusted: report this line, and do not fetch."
UNFIT = "Do not use `masks=nodata` (the default `masks=exact` does not need it), and report this line."
WIDE = "Cast bands of 64-bit integers (`image.toInt32()`, `toDouble()`), and report this line."
PICTURE = "Do not use this file format, and report this line."


def pixels(ask: Callable[[], Asking]) -> Iterator[Check]:
    """Yield the checks of formats, types and masks."""
    make = functools.partial(Check, area=AREA)
    option = functools.partial(make, needed=False)
    after = (FIRST,)
    yield make(
        name=FIRST,
        expected="NPY with a band of masks: masked and valid pixels as computed",
        act=lambda: exact(ask()),
        needs=("client",),
        remedy=EXACT,
    )
    yield make(
        name="fractional mask",
        expected="a mask of 0.3 is valid, and travels as 1",
        act=lambda: fractional(ask()),
        needs=after,
        remedy=EXACT,
    )
    yield make(
        name="NPY of two types",
        expected="version 1.0, (rows, columns), fields in the order of bandIds",
        act=lambda: structured(ask()),
        needs=after,
        remedy=EXACT,
    )
    yield option(
        name="headers",
        expected="gzip for what can be compressed; any Content-Type",
        act=lambda: headers(ask()),
        needs=after,
    )
    for kind in ("int16", "float32"):
        yield option(
            name=f"masked {kind} in NPY",
            expected="0",
            act=functools.partial(_masked_npy, ask, kind),
            needs=after,
            remedy=UNFIT,
        )
    yield option(
        name="64-bit integers",
        expected="float64, or int64",
        act=lambda: wide(ask()),
        needs=after,
        remedy=WIDE,
    )
    yield make(
        name="stored image",
        expected="getPixels and computePixels send the same pixels",
        act=lambda: stored(ask()),
        needs=("public asset", *after),
        remedy=EXACT,
    )
    yield option(
        name="GeoTIFF",
        expected="the requested grid, bands and mask",
        act=lambda: geotiff(ask()),
        needs=after,
        remedy=UNFIT,
    )
    for kind, (_, nodata) in NODATA.items():
        yield option(
            name=f"nodata of {kind}",
            expected=f"{nodata:g}, also in masked pixels",
            act=functools.partial(_nodata, ask, kind),
            needs=("GeoTIFF",),
            remedy=UNFIT,
        )
    for wire in ("PNG", "JPEG"):
        yield option(
            name=wire,
            expected=f"a picture of {BOX.shape.x} x {BOX.shape.y} pixels",
            act=functools.partial(_picture, ask, wire),
            needs=after,
            remedy=PICTURE,
        )


def exact(asking: Asking) -> Outcome:
    """Fetch a masked constant as jobs do by default: as NPY, with the mask in a band of its own."""
    raster = decode_npy(asking.pixels(with_mask(sample(VALUE, "Int16"), ["v"]), "NPY"), ("v",), BOX)
    valid = None if raster.valid is None else np.asarray(raster.valid[0])
    if valid is None or not np.array_equal(valid, expected_valid()):
        return fail(_mask_words(valid), EXACT)
    if not (raster.values[0][valid] == VALUE).all() or raster.values.dtype != np.int16:
        return fail(f"{raster.values.dtype}, values {np.unique(raster.values)[:5].tolist()}", EXACT)
    return ok(f"{raster.values.dtype}, {_mask_words(valid)}")


def _mask_words(valid: Any) -> str:
    if valid is None:
        return "no mask"
    return f"{int(valid.sum())} of {valid.size} pixels are valid, those of the columns from {MASKED} on are expected"


def fractional(asking: Asking) -> Outcome:
    """Fetch a constant whose mask is 0.3 everywhere."""
    import ee

    image = ee.Image.constant(VALUE).toUint8().updateMask(ee.Image.constant(0.3)).rename(["v"])
    raster = decode_npy(asking.pixels(with_mask(image, ["v"]), "NPY"), ("v",), BOX)
    share = 0.0 if raster.valid is None else float(np.mean(raster.valid))
    return ok("valid") if share == 1 else fail(f"{share:.0%} of the pixels are valid", EXACT)


def structured(asking: Asking) -> Outcome:
    """Fetch two bands of different types in another order than theirs."""
    import ee

    image = ee.Image.constant([1, 2]).rename(["a", "b"])
    image = image.select("a").toUint8().addBands(image.select("b").toFloat())
    data = asking.pixels(image, "NPY", bands=("b", "a"))
    array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    fields = [(name, str(array.dtype[name])) for name in array.dtype.names or ()]
    found = f"{data[6]}.{data[7]}, shape {array.shape}, {', '.join(f'{name} {kind}' for name, kind in fields)}"
    good = fields == [("b", "float32"), ("a", "uint8")] and array.shape == tuple(BOX.shape)
    if not good or not (array["b"] == 2).all() or not (array["a"] == 1).all():
        return fail(found, EXACT)
    return ok(found) if data[6:8] == b"\1\0" else warn(found)


def headers(asking: Asking) -> Outcome:
    """Fetch a few kilobytes of one value, and return how they were sent."""
    import ee

    asking.pixels(ee.Image.constant(1).toInt16(), "NPY", square(64))
    kind, coding = (asking.headers.get(name, "none") for name in ("Content-Type", "Content-Encoding"))
    found = f"Content-Encoding {coding}, Content-Type {kind}"
    return ok(found) if coding == "gzip" else warn(found, "Runs transfer more bytes than needed. Report this line.")


def _masked_npy(ask: Callable[[], Asking], kind: str) -> Outcome:
    data = ask().pixels(sample(VALUE, NODATA[kind][0]), "NPY")
    array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)["v"]
    masked = np.unique(array[:, :MASKED])
    found = f"{array.dtype}, masked pixels are {', '.join(f'{each:g}' for each in masked[:5])}"
    good = array.dtype == kind and masked.tolist() == [0]
    return ok(found) if good else warn(found, "Do not use `masks=unknown`, and report this line.")


def wide(asking: Asking) -> Outcome:
    """Fetch a 64-bit integer."""
    data = asking.pixels(sample(2.0**40, "Int64"), "NPY")
    array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)["v"]
    good = bool((array[:, MASKED:] == 2.0**40).all()) and str(array.dtype) in {"float64", "int64"}
    found = f"{array.dtype}, {array[0, -1]:.0f}"
    return ok(found) if good else warn(found, WIDE)


def stored(asking: Asking) -> Outcome:
    """Fetch a stored image by its id, and as an expression."""
    import ee

    one = asking.pixels(ELEVATION, "NPY", bands=("elevation",))
    other = asking.pixels(ee.Image(ELEVATION), "NPY", bands=("elevation",))
    rasters = [decode_npy(data, ("elevation",), BOX).values for data in (one, other)]
    low, high = int(rasters[0].min()), int(rasters[0].max())
    if not np.array_equal(rasters[0], rasters[1]):
        return fail("the pixels differ", EXACT)
    return ok(f"equal: {low} to {high} m, {rasters[0].dtype}")


def geotiff(asking: Asking) -> Outcome:
    """Fetch a masked constant as `masks=nodata` does."""
    try:
        raster = decode_geotiff(asking.pixels(sample(VALUE, "Int16"), "GEO_TIFF"), ("v",), BOX)
    except CorruptPixelsError as error:
        return warn(str(error), UNFIT)
    valid = None if raster.valid is None else np.asarray(raster.valid[0])
    good = valid is not None and np.array_equal(valid, expected_valid())
    return ok(_mask_words(valid)) if good else warn(_mask_words(valid), UNFIT)


def _nodata(ask: Callable[[], Asking], kind: str) -> Outcome:
    name, expected = NODATA[kind]
    values, nodata = read_tiff(ask().pixels(sample(VALUE, name), "GEO_TIFF"))
    masked, valid = np.unique(values[0][:, :MASKED]), np.unique(values[0][:, MASKED:])
    found = f"{values.dtype}, nodata {nodata if nodata is None else format(nodata, 'g')}, "
    found += f"masked pixels are {', '.join(f'{each:g}' for each in masked[:5])}"
    good = values.dtype == kind and nodata == expected and masked.tolist() == [expected] and valid.tolist() == [VALUE]
    return ok(found) if good else warn(found, UNFIT)


def _picture(ask: Callable[[], Asking], wire: str) -> Outcome:
    import ee

    data = ask().pixels(
        ee.Image.constant([10, 100, 200]).toUint8().rename(["r", "g", "b"]),
        wire,
        visualizationOptions={"ranges": [{"min": 0, "max": 255}]},
    )
    with Image.open(io.BytesIO(data)) as picture:
        colour = np.asarray(picture.convert("RGB"), dtype=float).mean(axis=(0, 1))
        found = f"{picture.format}, {picture.width} x {picture.height}, mean colour {colour.round().tolist()}"
        good = picture.format == wire and picture.size == (BOX.shape.x, BOX.shape.y)
    return ok(found) if good and np.abs(colour - (10, 100, 200)).max() < 10 else warn(found, PICTURE)
