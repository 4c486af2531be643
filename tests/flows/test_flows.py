"""The three flows through a real Prefect server, on the sandbox: what they leave on disk and in the UI."""

import csv
import inspect
import json
import sys
from pathlib import Path

import ee
import geopandas
import numpy as np
import pytest
import rasterio
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_docstrings
from prefect.utilities.schema_tools import validate
from pyproj import Transformer
from rasterio.features import rasterize

from deployments.sandbox.process import running
from flows.image_parameters import ExpressionImage
from flows.parameters import PatchesParameters, RegionParameters
from flows.patches import extract_patches
from flows.region import extract_region
from flows.timeseries import extract_timeseries
from tasks.earthengine.connection import ensure_client
from tasks.earthengine.expression import encode
from tasks.errors.run import ExtractionFailedError
from tasks.raster.encode import read_geotiff
from tasks.storage.local import LocalStore
from tasks.storage.receipt import read_receipts
from tests.flows.conftest import UNPACED
from tests.given import call, parameters_of
from tests.rasters import valid_share

SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
LAKE = [-54.60, -25.30, -54.55, -25.26]
ENTRYPOINTS = ["flows.region.extract_region", "flows.timeseries.extract_timeseries", "flows.patches.extract_patches"]


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_every_flow_is_found_by_its_dotted_entrypoint_and_is_one_object(entrypoint):
    module, _, name = entrypoint.rpartition(".")
    found = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    assert found is getattr(sys.modules[module], name)
    assert found.description
    _follows_its_model(found)


def _follows_its_model(flow):
    """Signature, docstring and form have the fields of the model, in one order and with the same defaults."""
    model, names = flow.model.model_fields, list(inspect.signature(flow).parameters)
    form = flow.parameters.properties
    assert names == sorted(form, key=lambda name: form[name]["position"])
    assert set(names) == set(model)
    assert names[-1] == "advanced"
    assert set(flow.parameters.required) == {name for name, field in model.items() if field.is_required()}
    documented = parameter_docstrings(inspect.getdoc(flow))
    for name, parameter in inspect.signature(flow).parameters.items():
        words = " ".join(model[name].description.split())
        assert " ".join(form[name]["description"].split()).startswith(words)
        assert documented[name] == words
        assert form[name]["title"] == model[name].title
        if not model[name].is_required():
            assert parameter.default == model[name].default
            assert form[name].get("default", parameter.default) == parameter.default


@pytest.mark.parametrize(("flow", "most"), [(extract_region, 12), (extract_timeseries, 14), (extract_patches, 13)])
def test_few_fields_come_before_what_is_advanced(flow, most):
    """Whatever is added goes into `advanced`, unless it decides what is fetched."""
    assert len(flow.parameters.properties) - 1 <= most


@pytest.mark.parametrize("flow", [extract_region, extract_timeseries, extract_patches])
def test_a_form_offers_no_null_and_no_choice_of_types_but_of_blocks(flow):
    whole = flow.parameters.model_dump()
    for schema in (whole, *whole["definitions"].values()):
        for name, field in schema.get("properties", {}).items():
            assert field.get("type") != "null", name
            assert "anyOf" not in field or name in {"output", "connection"}, name
            assert {"type": "null"} not in field.get("anyOf", []), name
            assert "default" not in field or field["default"] is not None, name


@pytest.mark.parametrize("given", ["-54.6,-25.3,-54.5,-25.2", [-54.6, -25.3, -54.5, -25.2], {"type": "Polygon"}, 3])
def test_a_server_takes_a_region_as_text_list_or_object_and_leaves_the_rest_to_our_words(given):
    """The UI looks up the same definition as text: see `flows.form_schema.form`."""
    form = extract_region.parameters.model_dump()
    for wrong in ({}, {"scale": "wide"}, {"advanced": {"tile_size": 3, "foo": 1}}, {"masks": "maybe"}):
        assert validate({"image": "a/b", "region": given, "bands": ["B4"], **wrong}, form, preprocess=True) == []
    shown = form["definitions"][form["properties"]["region"]["$ref"].removeprefix("#/definitions/")]
    assert shown == {"type": "string"}


@pytest.mark.parametrize("given", [{"scale": 2**70}, {"advanced": {"max_requests": 2**70}}, {"image": -(2**70)}])
def test_a_server_refuses_what_it_cannot_keep(given):
    assert validate({"image": "a/b", **given}, extract_region.parameters.model_dump(), preprocess=True)


def test_a_region_becomes_one_mosaic(prefect_server, place):
    state = call(
        extract_region, image={"asset": SCENE}, region=LAKE, scale=30, tile_size=64, **place, return_state=True
    )
    result = state.result()
    assert (result.stored, result.failed) == (9, 0)
    mosaic = read_geotiff(Path(result.mosaic))
    assert mosaic.bands == ("B2", "B3", "B4")
    assert valid_share(mosaic) == 1
    with rasterio.open(result.mosaic) as file:
        assert file.tags()["DATE_ACQUIRED"] == "2020-05-18"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.crs == "EPSG:32721"
        assert (file.transform.c % 30, file.transform.f % 30) == (0, 0)
    assert Path(result.quicklook).read_bytes().startswith(b"\x89PNG")
    artifacts = artifacts_of(state)
    assert {"plan", "quicklook", "summary"} <= set(artifacts)
    assert "| requests to make | 9 |" in artifacts["plan"]["data"]
    assert artifacts["quicklook"]["data"].startswith("data:image/png;base64,")
    assert [a["data"] for a in artifacts.values() if a["type"] == "progress"] == [100.0]
    assert "| stored | 9 (" in artifacts["summary"]["data"]


def test_a_polygon_is_clipped_and_tiles_outside_it_are_not_asked_for(prefect_server, place):
    """Two triangles far from one another: what lies between costs nothing."""
    triangles = {
        "type": "MultiPolygon",
        "coordinates": [
            [[[-54.66, -25.19], [-54.64, -25.19], [-54.66, -25.21], [-54.66, -25.19]]],
            [[[-54.57, -25.38], [-54.55, -25.38], [-54.57, -25.40], [-54.57, -25.38]]],
        ],
    }
    given = {"image": {"asset": SCENE}, "region": triangles, "crs": "EPSG:32721", "scale": 30, "tile_size": 64} | place
    result = call(extract_region, **given)
    whole = call(extract_region, **given, clip=False)
    assert result.stored + result.empty < (whole.stored + whole.empty) / 4
    cut, full = read_geotiff(Path(result.mosaic)), read_geotiff(Path(whole.mosaic))
    assert cut.geobox == full.geobox
    feature = {"type": "Feature", "properties": {}, "geometry": triangles}
    shape = geopandas.GeoDataFrame.from_features([feature], crs=4326).to_crs(32721)
    inside = rasterize(shape.geometry, out_shape=cut.geobox.shape, transform=cut.geobox.affine).astype(bool)
    assert (cut.valid == (full.valid & inside)).mean() > 0.9999  # pixels whose centre is on the line go either way
    assert (cut.values[cut.valid] == full.values[cut.valid]).all()


def read(path, **filters):
    """What the server's REST API lists."""
    with get_client(sync_client=True) as client:
        answer = client._client.post(path, json=filters)
    answer.raise_for_status()
    return answer.json()


def artifacts_of(state):
    flow_run = str(state.state_details.flow_run_id)
    found = read("/artifacts/filter", artifacts={"flow_run_id": {"any_": [flow_run]}})
    return {artifact["key"] or artifact["type"]: artifact for artifact in found}


def test_batches_carry_the_tag_of_their_project(prefect_server, place):
    state = call(
        extract_region, image={"asset": SCENE}, region=LAKE, scale=300, tile_size=16, **place, return_state=True
    )
    runs = read("/task_runs/filter", flow_runs={"id": {"any_": [str(state.state_details.flow_run_id)]}})
    tagged = {run["name"] for run in runs if "earthengine:my-project" in run["tags"]}
    assert tagged == {run["name"] for run in runs if run["name"].startswith("tiles ")} != set()


def test_a_time_series_becomes_a_file_a_date_and_a_table(prefect_server, place):
    result = call(
        extract_timeseries,
        image={"recipe": "modis_ndvi"},
        region=LAKE,
        scale=250,
        start="2020-01-01",
        end="2020-02-20",
        **place,
    )
    assert list(result.files) == ["2020-01-01", "2020-01-17", "2020-02-02", "2020-02-18"]
    rasters = {day: read_geotiff(Path(path)) for day, path in result.files.items()}
    assert len({raster.geobox for raster in rasters.values()}) == 1
    with Path(result.table).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["date"], row["band"]) for row in rows] == [(day, band) for day in rasters for band in ("NDVI", "EVI")]
    west, south, east, north = LAKE
    for row in rows:  # of the pixels whose centre lies in the box
        raster = rasters[row["date"]]
        height, width = raster.geobox.shape
        xs, ys = raster.geobox.affine @ np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        lon, lat = Transformer.from_crs(raster.geobox.crs.proj, 4326, always_xy=True).transform(xs, ys)
        inside = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
        band = raster.bands.index(row["band"])
        valid = raster.valid[band] & inside
        assert float(row["valid_share"]) == pytest.approx(valid.sum() / inside.sum())
        assert float(row["mean"]) == pytest.approx(raster.values[band][valid].mean())
    assert Path(result.plot).read_bytes().startswith(b"\x89PNG")


def test_granules_of_one_day_become_one_file(prefect_server, place):
    result = call(
        extract_timeseries,
        image={"asset": "COPERNICUS/S2_SR_HARMONIZED"},
        bands=["B4", "SCL"],
        # where the granules 21JYN and 21JYM meet
        region=[-54.60, -25.33, -54.58, -25.31],
        scale=60,
        start="2020-05-01",
        end="2020-05-20",
        **place,
    )
    assert list(result.files) == ["2020-05-08T135419Z", "2020-05-18T135419Z"]
    for path in result.files.values():
        assert valid_share(read_geotiff(Path(path))) == 1


def test_patches_become_files_and_an_index(prefect_server, place):
    points = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {"crop": crop}, "geometry": {"type": "Point", "coordinates": place_}}
            for crop, place_ in [
                ("soy", [-54.58, -25.28]),
                ("maize", [-54.56, -25.24]),
                ("soy again", [-54.58, -25.28]),
                ("far away", [-78.7, 35.75]),
            ]
        ],
    }
    given = parameters_of(
        PatchesParameters, image={"asset": SCENE}, points=points, scale=30, size=33, bands=["B4", "B2"], **place
    )
    state = extract_patches(**given.given(), return_state=True)
    result = state.result()
    assert (result.stored, result.empty, result.failed) == (2, 1, 0)
    assert {Path(file).parent for file in (result.index, result.quicklook, result.manifest)} == {Path(result.folder)}
    index = geopandas.read_parquet(result.index)
    assert list(index["crop"]) == ["soy", "maize", "soy again", "far away"]
    assert list(index["crs"]) == ["EPSG:32721"] * 3 + ["EPSG:32617"]
    assert index["patch"][0] == index["patch"][2]
    assert index["status"][3] == "empty"
    assert index["file"][3] is None or np.isnan(index["file"][3])
    assert list(index["point"]) == ["0", "1", "2", "3"]
    shown = json.loads(artifacts_of(state)["patches"]["data"])
    assert [(row["point"], row["status"], row["file"]) for row in shown] == [
        (row.point, row.status, row.file or "") for row in index.fillna("").itertuples()
    ]
    for row in index[:3].itertuples():
        raster = read_geotiff(Path(result.output, row.file))
        assert raster.values.shape == (2, 33, 33)
        assert raster.bands == ("B4", "B2")
        centre = geopandas.GeoSeries([row.geometry], crs=4326).to_crs(row.crs)[0]
        column, line = ~raster.geobox.affine @ (centre.x, centre.y)
        assert abs(column - 16.5) <= 0.5
        assert abs(line - 16.5) <= 0.5


def test_an_image_built_by_hand_is_extracted_and_the_users_session_stays(prefect_server, place, connection):
    ensure_client(connection)
    image = ee.Image(SCENE).select("B4").add(1).rename("more").toInt32()
    before = (ee.data.is_initialized(), ee.data._get_state().cloud_api_user_project)
    parameters = parameters_of(
        RegionParameters,
        image=ExpressionImage(expression=image, name="by_hand"),
        region=LAKE,
        scale=30,
        crs="EPSG:32621",
        **place,
    )
    assert parameters.image.expression == encode(image)
    result = extract_region(**parameters.given())
    assert (ee.data.is_initialized(), ee.data._get_state().cloud_api_user_project) == before
    plain = call(extract_region, image={"asset": SCENE}, region=LAKE, scale=30, crs="EPSG:32621", **place)
    ours, theirs = read_geotiff(Path(result.mosaic)), read_geotiff(Path(plain.mosaic))
    assert (ours.values[0] == theirs.values[2].astype(int) + 1).all()
    assert result.fingerprint != plain.fingerprint


@pytest.mark.parametrize("file_format", ["NPY", "PNG", "JPEG"])
def test_other_formats_are_stored_as_sent(prefect_server, place, file_format):
    pictures = {"visualization": {"min": 7000, "max": 12000}} if file_format != "NPY" else {}
    result = call(
        extract_region,
        image={"asset": SCENE},
        bands=["B4", "B3", "B2"],
        region=LAKE,
        scale=60,
        tile_size=64,
        file_format=file_format,
        **pictures,
        **place,
    )
    assert result.mosaic is None
    files = [path for path in Path(result.output, "tiles").rglob("*") if path.is_file()]
    assert len(files) == result.stored == 4
    for path in files:
        if file_format == "NPY":
            assert np.load(path).dtype.names == ("B4", "B3", "B2", "valid_0")
        else:
            with Image.open(path) as picture:
                assert picture.format == file_format


def test_the_receipts_say_what_is_on_disk(prefect_server, place):
    result = call(extract_region, image={"asset": SCENE}, region=LAKE, scale=90, tile_size=16, **place)
    receipts = read_receipts(LocalStore(Path(result.output)), Path(result.folder).name)
    tiles = [tile for _, receipt in receipts for tile in receipt.tiles]
    assert [tile.index for tile in tiles] == list(range(result.stored))
    stored = {path.relative_to(result.output).as_posix() for path in Path(result.output, "tiles").rglob("*.tif")}
    assert {tile.key for tile in tiles} == stored


def test_tiles_that_are_refused_fail_the_run_and_leave_the_rest(prefect_server, tmp_path):
    """Above 600 px this sandbox runs out of memory. Parts of 17 x 25 px fit; 25 x 25 do not, and are not split."""
    with running(max_pixels=600) as url:
        given = {
            "image": {"asset": SCENE},
            "region": LAKE,
            "scale": 30,
            "tile_size": 100,
            "project": "my-project",
            "endpoint": url,
            "output": str(tmp_path),
            **UNPACED,
        }
        state = call(extract_region, **given, return_state=True)
        assert state.is_failed()
        with pytest.raises(ExtractionFailedError, match="User memory limit exceeded"):
            state.result()
        failures = artifacts_of(state)["failures"]
        assert failures["data"].count("TooHeavy: User memory limit exceeded.") >= 1
        assert "landsat8_224078_20200518 r0" in failures["data"]
        allowed = call(extract_region, **given, allow_failures=True)
        points = {
            "type": "Feature",
            "properties": {"plot_id": "00123"},
            "geometry": {"type": "Point", "coordinates": [-54.58, -25.28]},
        }
        patches = {key: given[key] for key in given if key not in {"region", "tile_size"}} | {"points": points}
        state = call(extract_patches, **patches, size=100, return_state=True)
        assert "first: 00123" in state.message
        assert json.loads(artifacts_of(state)["failures"]["data"])[0]["name"] == "00123"
    assert allowed.failed >= 1
    assert allowed.stored >= 1
    mosaic = read_geotiff(Path(allowed.mosaic))
    assert 0 < valid_share(mosaic) < 1


def test_tiles_that_are_too_heavy_come_in_parts_and_the_mosaic_is_the_same(prefect_server, place, tmp_path):
    given = {"image": {"asset": SCENE}, "region": LAKE, "scale": 30, "tile_size": 100, "project": "my-project"}
    whole = call(extract_region, **given | place)
    with running(max_pixels=64 * 64) as url:
        state = call(
            extract_region, **given, endpoint=url, output=str(tmp_path / "parts"), **UNPACED, return_state=True
        )
    parts = state.result()
    assert Path(parts.mosaic).read_bytes() == Path(whole.mosaic).read_bytes()
    assert "tile_size=48" in artifacts_of(state)["summary"]["data"]
