"""What a request may say, what its grid becomes, and in which words it is refused."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from deployments.sandbox import frame
from deployments.sandbox.frame import resolve
from deployments.sandbox.raster import DOUBLE, INT64, UINT8, UINT16, Band, DataType, Grid, Pixels, Projection
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.request import Frame, compute_pixels, compute_value, get_pixels

UTM = "EPSG:32633"
TRANSFORM = {"scaleX": 10, "shearX": 1, "translateX": 500_000, "shearY": 2, "scaleY": -10, "translateY": 4e6}
GRID = {"dimensions": {"width": 4, "height": 3}, "affineTransform": TRANSFORM, "crsCode": UTM}


def read(body: Any) -> Any:
    return get_pixels(json.dumps(body).encode())


def test_a_request_means_what_it_says() -> None:
    request = read({"fileFormat": "NPY", "grid": GRID, "bandIds": ["b", "a"], "workloadTag": "run-7"})
    assert request.format == "NPY"
    assert request.bands == ("b", "a")
    assert request.frame == Frame(width=4, height=3, transform=Affine(10, 1, 5e5, 2, -10, 4e6), crs=UTM)
    # Proto-JSON: numbers in quotes, whole floats as integers, null as absent.
    loose = {"grid": {"dimensions": {"width": "4", "height": 3.0}, "crsCode": None}, "bandIds": None}
    assert read(loose).frame == Frame(width=4, height=3)
    assert read({}).format == "AUTO_JPEG_PNG"


UNKNOWN = "Invalid JSON payload received. Unknown name "


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"encoding": "x"}, f'{UNKNOWN}"encoding": Cannot find field.'),
        ({"expression": {}}, f'{UNKNOWN}"expression": Cannot find field.'),  # computePixels alone has one
        (
            {"grid": {"origin": 1, "pixel_size": 2}},
            f"{UNKNOWN}\"origin\" at 'grid': Cannot find field.\n{UNKNOWN}\"pixel_size\" at 'grid': Cannot find field.",
        ),
        (
            {"grid": {"affineTransform": {"scalex": 1}}},
            f"{UNKNOWN}\"scalex\" at 'grid.affine_transform': Cannot find field.",
        ),
        (
            {"fileFormat": "NUMPY_NDARRAY"},
            "'file_format' (type.googleapis.com/google.earthengine.v1.ImageFileFormat), \"NUMPY_NDARRAY\"",
        ),
        (
            {"grid": {"dimensions": {"width": 1.5}}},
            "Invalid value at 'grid.dimensions.width' (TYPE_INT32), 1.5",
        ),
        ({"grid": {"dimensions": {"width": 2**31}}}, "'grid.dimensions.width' (TYPE_INT32)"),
        ({"grid": {"dimensions": {"width": True}}}, "'grid.dimensions.width' (TYPE_INT32), true"),
        (
            {"grid": {"affineTransform": {"scaleX": "ten"}}},
            "'grid.affine_transform.scale_x' (TYPE_DOUBLE), \"ten\"",
        ),
        ({"grid": [1]}, "Invalid value at 'grid' (type.googleapis.com/google.earthengine.v1.PixelGrid), [1]"),
        ({"bandIds": "b"}, "Invalid value at 'band_ids'"),
        ({"bandIds": ["a", 1]}, "Invalid value at 'band_ids[1]' (TYPE_STRING), 1"),
        ({"bandIds": ["a", "b", "a"]}, "Duplicate band IDs"),
        ([], "Root element must be a message"),
        (
            {"grid": GRID | {"dimensions": {"width": 0, "height": 3}}},
            "Pixel grid dimensions (0x3) must be positive.",
        ),
        ({"grid": GRID | {"dimensions": {"width": 4, "height": -3}}}, "(4x-3) must be positive"),
        ({"grid": GRID | {"dimensions": {"width": 4}}}, "(4x0) must be positive"),
        ({"grid": GRID | {"affineTransform": TRANSFORM | {"scaleX": 0, "shearY": 0}}}, "no area"),
        ({"grid": GRID | {"affineTransform": {"translateX": 5}}}, "no area"),
        ({"grid": GRID | {"affineTransform": {"scaleX": 2, "shearX": 4, "shearY": 1, "scaleY": 2}}}, "no area"),
        ({"grid": GRID | {"crsWkt": CRS.from_epsg(4326).to_wkt()}}, "Only one of crsCode and crsWkt"),
        ({"grid": {"crsCode": "EPSG:999999"}}, "could not be parsed: 'EPSG:999999'"),
        ({"grid": {"crsCode": "+proj=utm +zone=33"}}, "could not be parsed"),
        ({"grid": {"crsCode": "32633"}}, "could not be parsed"),
        ({"grid": {"crsWkt": "PROJCS[nonsense]"}}, "could not be parsed"),
        ({"fileFormat": "TF_RECORD_IMAGE"}, "TF_RECORD_IMAGE is not supported by this method: only image exports"),
        ({"fileFormat": "ZIPPED_GEO_TIFF"}, "ZIPPED_GEO_TIFF is not supported by this method: only thumbnails"),
        ({"fileFormat": "ZIPPED_GEO_TIFF_PER_BAND"}, "only thumbnails"),
        ({"workloadTag": "Not A Tag"}, "Invalid workload tag"),
        ({"region": {"type": "Polygon", "coordinates": []}}, "Invalid GeoJSON geometry"),
        ({"region": {"type": "Nothing"}}, "Invalid GeoJSON geometry"),
        ({"visualizationOptions": {"ranges": [{"min": 3, "max": 3}]}}, "min and max are both 3"),
        ({"visualizationOptions": {"gamma": 0}}, "gamma 0: it must be positive"),
        ({"visualizationOptions": {"opacity": 1.5}}, "between 0 and 1"),
        ({"visualizationOptions": {"bands": ["a"]}}, "\"bands\" at 'visualization_options'"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(body: Any, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        read(body)
    assert refused.value.status == 400
    assert message in refused.value.message


@pytest.mark.parametrize("text", ["{", '{"grid": NaN}', "nonsense", '{"a":1}}', "\xff"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match=r"Invalid JSON payload received\."):
        get_pixels(text.encode("latin1"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "grid",
                        "dimensions",
                        "width",
                        "height",
                        "affineTransform",
                        "scaleX",
                        "crsCode",
                        "bandIds",
                        "region",
                        "ranges",
                        "min",
                        "visualizationOptions",
                        "gamma",
                        "type",
                        "coordinates",
                        "fileFormat",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_no_payload_breaks_the_reader(body: Any) -> None:
    with contextlib.suppress(Refusal):
        read(body)


def test_payload_is_limited_to_ten_megabytes() -> None:
    limit = 10_485_760
    get_pixels(b"{}".ljust(limit))
    with pytest.raises(Refusal, match=f"Request payload size exceeds the limit: {limit} bytes"):
        get_pixels(b"{}".ljust(limit + 1))


def test_expressions_need_both_halves() -> None:
    good = {"result": "0", "values": {"0": {"constantValue": 1}}}
    assert compute_value(json.dumps({"expression": good}).encode()) == good
    assert compute_pixels(json.dumps({"expression": good, "grid": GRID}).encode()).expression == good
    bad: dict[str, Any]
    for bad in ({}, {"result": "0"}, {"values": {}}):
        with pytest.raises(Refusal, match="'result' and 'values'"):
            compute_value(json.dumps({"expression": bad}).encode())
    with pytest.raises(Refusal, match='"region": Cannot find field'):
        compute_pixels(json.dumps({"expression": good, "region": {}}).encode())


# Grids -------------------------------------------------------------------------------------------------------

NATIVE = Affine(30, 0, 500_015, 0, -20, 4_100_007)
FOOTPRINT = shapely.box(15.01, 36.9, 15.13, 37.02)
REGION = shapely.Polygon([(15.02, 36.95), (15.09, 36.93), (15.11, 36.99)])


def bands(
    *types: DataType, crs: str = UTM, transform: Affine = NATIVE, size: tuple[int, int] | None = (300, 200)
) -> list[Band]:
    def read(grid: Grid) -> Pixels:
        return Pixels(np.zeros(grid.shape), np.ones(grid.shape, np.float32))

    projection = Projection(crs=crs, transform=transform)
    return [
        Band(id=f"b{i}", type=kind, projection=projection, read=read, dimensions=size)
        for i, kind in enumerate(types or (UINT8,))
    ]


def test_a_full_grid_is_taken_to_the_letter() -> None:
    sheared = Affine(7, 3, 1, -2, -5, 2)
    whole = Frame(width=5, height=3, transform=sheared, crs="EPSG:3857")
    assert resolve(whole, bands(), FOOTPRINT) == Grid(crs="EPSG:3857", transform=sheared, width=5, height=3)


def test_what_is_left_out_is_native() -> None:
    assert resolve(Frame(), bands(), FOOTPRINT) == Grid(crs=UTM, transform=NATIVE, width=300, height=200)
    moved = NATIVE @ Affine.translation(7, 5)
    part = resolve(Frame(width=4, height=3, transform=moved), bands(), FOOTPRINT)
    assert part == Grid(crs=UTM, transform=moved, width=4, height=3)
    assert resolve(Frame(width=4, height=3), bands(), None).transform == NATIVE


def bounds_in(area: shapely.Polygon, crs: str) -> tuple[float, float, float, float]:
    """An oracle for boxes: GDAL's, with as dense edges as ours."""
    box: tuple[float, float, float, float] = transform_bounds("OGC:CRS84", crs, *area.bounds, densify_pts=999)
    return box


@pytest.mark.parametrize("transform", [None, NATIVE @ Affine.scale(2, 3), Affine(9, 4, 500_003, -3, -7, 4.1e6)])
def test_a_region_is_covered_by_whole_pixels_of_the_lattice(transform: Affine | None) -> None:
    grid = resolve(Frame(transform=transform), bands(), FOOTPRINT, shapely.box(15.02, 36.93, 15.11, 36.99))
    lattice = transform or NATIVE
    column, row = ~lattice @ (grid.transform.c, grid.transform.f)
    assert (column, row) == pytest.approx((round(column), round(row)), abs=1e-6)
    assert grid.transform[:2] + grid.transform[3:5] == lattice[:2] + lattice[3:5]
    box = bounds_in(shapely.box(15.02, 36.93, 15.11, 36.99), UTM)
    corners = [~grid.transform @ (x, y) for x in box[::2] for y in box[1::2]]
    near = 0.2  # of a pixel, by which the two boxes may differ
    for values, size in zip(zip(*corners, strict=True), (grid.width, grid.height), strict=True):
        assert -near <= min(values) < 1 + near
        assert size - 1 - near < max(values) <= size + near


def test_a_region_with_dimensions_is_rescaled() -> None:
    grid = resolve(Frame(width=11, height=7), bands(), FOOTPRINT, REGION)
    xs, ys = Transformer.from_crs(4326, 32633, always_xy=True).transform(*np.array(REGION.exterior.coords).T)
    left, bottom, right, top = grid.bounds
    assert (grid.width, grid.height) == (11, 7)
    assert (left, right) == pytest.approx((min(xs), max(xs)), abs=3)
    assert (bottom, top) == pytest.approx((min(ys), max(ys)), abs=3)


def test_another_crs_alone_keeps_the_scale_and_covers_the_image() -> None:
    grid = resolve(Frame(crs="EPSG:4326"), bands(), FOOTPRINT)
    metres = math.sqrt(30 * 20)
    assert grid.transform.a == -grid.transform.e == pytest.approx(metres / 111_319.4908)
    assert grid.bounds[:1] + grid.bounds[3:] == pytest.approx((15.01, 37.02))
    assert 0 <= grid.bounds[2] - 15.13 < grid.transform.a
    assert 0 <= 36.9 - grid.bounds[1] < grid.transform.a


def test_what_has_no_end_covers_the_world_in_degrees_and_nothing_else() -> None:
    degrees = bands(crs="EPSG:4326", transform=Affine.identity(), size=None)
    grid = resolve(Frame(), degrees, None)
    assert (grid.width, grid.height, grid.bounds) == (360, 180, (-180, -90, 180, 90))
    with pytest.raises(Refusal, match="unbounded"):
        resolve(Frame(crs=UTM), degrees, None)


@pytest.mark.parametrize(
    ("width", "height", "types", "message"),
    [
        # The size that Earth Engine itself has reported: 48 bands of doubles on 512 x 256 (google/Xee#50).
        (
            512,
            256,
            [DOUBLE] * 48,
            "Total request size (56623104 bytes) must be less than or equal to 50331648 bytes.",
        ),
        (4096, 4097, [UINT16], "Total request size (50343936 bytes)"),
        (2048, 2731, [INT64], "Total request size (50337792 bytes)"),
        (40_818, 1, [UINT8], "Pixel grid dimensions (40818x1) must be less than or equal to 32768."),
        (1, 32_769, [UINT8], "Pixel grid dimensions (1x32769) must be less than or equal to 32768."),
        (1, 1, [UINT8] * 1025, "Number of bands (1025) must be less than or equal to 1024."),
    ],
)
def test_limits_are_told_in_earth_engine_s_words(width: int, height: int, types: list[DataType], message: str) -> None:
    grid = Grid(crs=UTM, transform=NATIVE, width=width, height=height)
    with pytest.raises(Refusal) as refused:
        frame.check(grid, bands(*types))
    assert message in refused.value.message
    assert refused.value.status == 400


def test_limits_include_themselves() -> None:
    frame.check(Grid(crs=UTM, transform=NATIVE, width=4096, height=4096), bands(UINT16))
    frame.check(Grid(crs=UTM, transform=NATIVE, width=32_768, height=1), bands(UINT8))
    frame.check(Grid(crs=UTM, transform=NATIVE, width=1, height=1), bands(*[UINT8] * 1024))
