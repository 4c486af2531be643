"""What users bring, through the flows: the index has the values of the file, and a choice stands in the log."""

import logging

import geopandas
import pandas as pd
import pytest
import rasterio
import shapely

from flows.parameters import PatchesParameters, RegionParameters
from flows.patches import extract_patches
from flows.region import extract_region
from tasks.errors.input import InputError
from tests.flows.conftest import pixel_requests
from tests.given import call, parameters_of

SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
TABLE = "id;Long;Lat;n;note\n00123;-54,58;-25,28;1;NA\n1e5;-54,57;-25,27;;TRUE\n12345678901234567;-54,56;-25,29;3;\n"


def points(*xy, **properties):
    return geopandas.GeoDataFrame(properties, geometry=[shapely.Point(*each) for each in xy], crs="EPSG:4326")


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "sites.gpkg"
    points((-54.58, -25.28), code=["007"]).to_file(path, layer="wells")
    both = geopandas.GeoDataFrame(
        {"code": ["010"]}, geometry=[shapely.MultiPoint([(-54.57, -25.27), (-54.56, -25.29)])], crs="EPSG:4326"
    )
    both.to_file(path, layer="springs")
    for name, left in (("lake", -54.58), ("wood", -54.56)):
        box = shapely.box(left, -25.29, left + 0.01, -25.28)
        geopandas.GeoDataFrame({"n": [1]}, geometry=[box], crs="EPSG:4326").to_file(path, layer=name)
    return path


def test_a_table_s_values_stand_in_the_index(prefect_server, place, tmp_path, caplog):
    (tmp_path / "sites.csv").write_text(TABLE)
    given = {"image": {"asset": SCENE}, "scale": 30, "size": 16, "points": str(tmp_path / "sites.csv")} | place
    with caplog.at_level(logging.INFO):
        result = call(extract_patches, **given)
    index = geopandas.read_parquet(result.index)
    assert index["id"].tolist() == ["00123", "1e5", "12345678901234567"]
    assert [None if pd.isna(n) else n for n in index["n"]] == [1, None, 3]
    assert index["note"].fillna("missing").tolist() == ["NA", "TRUE", "missing"]
    assert list(zip(index.geometry.x, index.geometry.y, strict=True)) == [
        (-54.58, -25.28),
        (-54.57, -25.27),
        (-54.56, -25.29),
    ]
    assert "columns are separated by semicolons, numbers have decimal commas" in caplog.text


def test_a_layer_is_chosen_and_its_parts_have_rows(prefect_server, place, package):
    given = {"image": {"asset": SCENE}, "scale": 30, "size": 16, "points": str(package)} | place
    result = call(extract_patches, **given, layer="springs")
    index = geopandas.read_parquet(result.index)
    assert index["code"].tolist() == ["010", "010"]
    assert index["part"].tolist() == [0, 1]
    assert index["patch"].nunique() == 2


@pytest.mark.parametrize(
    ("flow", "model", "field", "layers"),
    [
        (extract_region, RegionParameters, "region", "'lake' .1 feature., 'wood' .1 feature."),
        (extract_patches, PatchesParameters, "points", "'wells' .1 feature., 'springs' .1 feature."),
    ],
)
def test_several_layers_are_refused_before_the_first_request(
    prefect_server, place, package, sandbox_url, flow, model, field, layers
):
    before = pixel_requests(sandbox_url)
    parameters = parameters_of(model, image=SCENE, scale=30, **{field: str(package)}, **place)
    with pytest.raises(InputError, match=rf"{field} = .*it has several layers: {layers}"):
        flow(**parameters.given())
    assert pixel_requests(sandbox_url) == before


def test_a_region_is_all_layers(prefect_server, place, package):
    given = {"image": {"asset": SCENE}, "crs": "EPSG:4326", "scale": 0.0005, "region": str(package)} | place
    result = call(extract_region, **given, layer="*")
    with rasterio.open(result.mosaic) as file:
        assert file.shape == (20, 60)
