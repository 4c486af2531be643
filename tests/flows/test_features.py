"""A time series over several features: a row each, or a file each; and what lies between them costs nothing."""

import csv
import json
import logging
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from deployments.sandbox.process import running
from flows.parameters import TimeseriesParameters
from flows.timeseries import extract_timeseries
from tests.flows.conftest import UNPACED, forget_requests, pixel_requests
from tests.given import call, parameters_of

A = np.arange(400, dtype=np.uint16).reshape(20, 20) + 1
X, Y = 600_000, 7_200_000
BOX = [-54.8850, 64.9050, -54.8750, 64.9080]


def scene(path: Path, values: np.ndarray, x: float = X, y: float = Y, scale: float = 30) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = Affine(scale, 0, x, 0, -scale, y)
    kind = {"driver": "GTiff", "dtype": values.dtype, "crs": "EPSG:32621", "transform": affine, "count": 1}
    with rasterio.open(path, "w", height=values.shape[0], width=values.shape[1], **kind) as file:
        file.write(values, 1)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Collections on the sandbox: `near` has A on three days, `far` has A over 330 km on one day."""
    folder = tmp_path_factory.mktemp("scenes")
    for day, add in ((1, 0), (2, 6), (3, 18)):
        scene(folder / "near" / f"n_2020060{day}.tif", (A + add).astype(np.uint16))
    scene(folder / "far" / "f_20200601.tif", A, scale=16_500)
    with running(scenes=folder) as address:
        yield address


def pixels(top, left, rows, columns):
    """A box of whole pixels of A in EPSG:32621."""
    return shapely.box(X + 30 * left, Y - 30 * (top + rows), X + 30 * (left + columns), Y - 30 * top)


def collection(*shapes, crs="EPSG:32621", **columns):
    """GeoJSON of features with its CRS."""
    frame = geopandas.GeoDataFrame(columns, geometry=list(shapes), crs=crs)
    return {**json.loads(frame.to_json(drop_id=True)), "crs": {"type": "name", "properties": {"name": crs}}}


@pytest.fixture
def series(url, tmp_path, prefect_server):
    def run(region, **more):
        job = {"image": {"asset": "projects/sandbox/assets/near"}, "start": "2020-06-01", "end": "2020-07-01"}
        grid = {"crs": "EPSG:32621", "scale": 30, "tile_size": 16, "output": str(tmp_path / "out")}
        place = {"project": "my-project", "endpoint": url, "run_retries": 0, **UNPACED}
        return call(extract_timeseries, **job | grid | place | {"region": region} | more)

    return run


def rows(result):
    with Path(result.table).open(newline="") as file:
        return list(csv.DictReader(file))


TWO = (pixels(0, 0, 5, 5), pixels(10, 10, 5, 5))


def test_each_feature_has_a_row_for_each_date(series):
    result = series(collection(*TWO, crop=["wheat", "00123"], mean=["NA", "1e5"]))
    table = rows(result)
    assert list(table[0])[:3] == ["feature", "crop", "mean_given"]
    assert [(row["feature"], row["crop"], row["mean_given"]) for row in table] == (
        [("0", "wheat", "NA")] * 3 + [("1", "00123", "1e5")] * 3
    )
    assert [float(row["mean"]) for row in table] == [43, 49, 61, 253, 259, 271]
    assert [(float(row["min"]), float(row["max"])) for row in table[::3]] == [(1, 85), (211, 295)]
    assert {row["valid_share"] for row in table} == {"1.0"}
    assert len(result.files) == 3


def test_each_feature_has_a_file_for_each_date_if_asked_for(series):
    """Cut from tiles of 16 pixels, the second across four of them, and clipped: a triangle has masked pixels."""
    triangle = shapely.Polygon([(X + 300, Y - 300), (X + 630, Y - 630), (X + 300, Y - 630)])
    region = collection(TWO[0], triangle, name=["a", "b"])
    for number, name in enumerate(["south", "north"]):
        region["features"][number]["id"] = name
    result = series(region, per_feature="files")
    dates = ["2020-06-01", "2020-06-02", "2020-06-03"]
    assert list(result.files) == [f"{name}/{date}" for name in ("north", "south") for date in dates]
    with rasterio.open(result.files["south/2020-06-02"]) as file:
        assert (file.read(1) == A[:5, :5] + 6).all()
        assert file.transform == Affine(30, 0, X, 0, -30, Y)
        assert (file.read_masks(1) == 255).all()
        assert file.tags()["FEATURE"] == "south"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    with rasterio.open(result.files["north/2020-06-03"]) as file:
        lower = np.tri(10, dtype=bool, k=-1)  # centres on the diagonal are not inside; row 20 is beyond the image
        seen = file.read_masks(1) > 0
        assert (seen[:10, :10] == lower).all()
        assert (file.read(1)[:10, :10][lower] == A[10:, 10:][lower] + 18).all()
    table = rows(result)
    assert [row["feature"] for row in table] == ["south"] * 3 + ["north"] * 3
    assert float(table[3]["mean"]) == A[10:, 10:][lower].mean()
    again = {path: path.stat().st_mtime_ns for path in Path(result.folder).rglob("*.tif")}
    assert len(again) == 6
    assert series(region, per_feature="files").files == result.files
    assert {path: path.stat().st_mtime_ns for path in again} == again


def test_features_are_one_area_if_asked_for(series):
    result = series(collection(*TWO, crop=["wheat", "maize"]), per_feature="none")
    assert [(row["date"], float(row["mean"])) for row in rows(result)] == [
        ("2020-06-01", 148), ("2020-06-02", 154), ("2020-06-03", 166)
    ]  # fmt: skip
    assert list(rows(result)[0])[:6] == ["date", "band", "valid_share", "mean", "min", "max"]
    assert list(result.files) == ["2020-06-01", "2020-06-02", "2020-06-03"]


@pytest.mark.parametrize("more", [{}, {"file_format": "NPY"}])
def test_a_box_is_averaged_over_the_pixels_whose_centre_lies_in_it(series, more):
    """The grid that covers the box has a row or a column more at each side, since the box is oblique on it."""
    frame = geopandas.GeoSeries([shapely.box(*BOX).segmentize(1e-5)], crs=4326).to_crs(32621)
    columns, lines = np.meshgrid(X + 15 + 30 * np.arange(20), Y - 15 - 30 * np.arange(20))
    inside = shapely.contains_xy(frame.iloc[0], columns, lines)
    assert inside.any(axis=1).sum() * inside.any(axis=0).sum() > inside.sum() > 0
    first = rows(series(BOX, **more))[0]
    assert float(first["mean"]) == pytest.approx(A[inside].mean(), rel=1e-12)
    assert (float(first["min"]), float(first["max"])) == (A[inside].min(), A[inside].max())


FAR = (pixels(3, 3, 5, 5), pixels(10_512, 10_818, 5, 5))


@pytest.mark.parametrize("more", [{}, {"per_feature": "files"}])
def test_far_fields_are_no_mosaic_of_what_lies_between(series, url, caplog, more):
    caplog.set_level(logging.WARNING)
    forget_requests(url)
    result = series(collection(*FAR), image={"asset": "projects/sandbox/assets/far"}, tile_size=512, **more)
    assert pixel_requests(url) == 2
    assert [(row["feature"], float(row["mean"])) for row in rows(result)] == [("0", 1), ("1", 400)]
    sizes = [rasterio.open(path).shape for path in result.files.values()]
    assert sizes == ([(5, 5)] * 2 if more else [])
    assert ("per_feature=files" in caplog.text) == (not more)
    assert Path(result.quicklook).exists()


def test_files_of_features_need_geotiff():
    job = {"image": {"asset": "a"}, "start": "2020-01-01", "region": BOX, "scale": 30}
    with pytest.raises(ValueError, match=r"per_feature = 'files': with file_format = NPY .* Choose GEO_TIFF"):
        parameters_of(TimeseriesParameters, **job, per_feature="files", file_format="NPY")


def test_what_lies_between_far_fields_is_not_requested_as_npy_either(series, url):
    forget_requests(url)
    job = {"image": {"asset": "projects/sandbox/assets/far"}, "tile_size": 512, "file_format": "NPY"}
    result = series(collection(*FAR), **job)
    assert pixel_requests(url) == 2
    assert [float(row["mean"]) for row in rows(result)] == [1, 400]
