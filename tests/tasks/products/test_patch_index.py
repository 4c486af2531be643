"""The index of patches keeps what the user's points had."""

import json
import math
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.plan.plan import Band, Plan, Source, TileFormat
from tasks.plan.tiles import PatchTiles
from tasks.products.patch_index import make_patch_index
from tasks.raster.points import read_points
from tasks.storage.local import LocalStore
from tasks.storage.receipt import TileObject, TileReceipt

OURS = ["point", "patch", "status", "file", "crs", "left", "top", "scale", "size", "valid_share", "reason"]


def plan_of(patches: int) -> Plan:
    return Plan(
        name="patches",
        sources=(Source(name="a", asset="a", version="1", wire="NPY", wire_bands=("B1",), wire_dtypes=("uint8",)),),
        tiles=PatchTiles(
            crs=("EPSG:32632", "EPSG:32733"),
            zone=np.arange(patches, dtype=np.int32) % 2,
            left=600_000.0 + 70 * np.arange(patches),
            top=5_000_000.0 - 30 * np.arange(patches),
            scale=10.0,
            size=7,
        ),
        bands=(Band(id="B1", dtype="uint8"),),
        tile_format=TileFormat(file_format="NPY"),
    )


def index_of(points: geopandas.GeoDataFrame, output: Path) -> geopandas.GeoDataFrame:
    """Points in pairs share a patch; the first is stored, the others empty."""
    tile_of_point = np.arange(len(points)) // 2
    count = int(tile_of_point.max()) + 1
    file = TileObject(key="tiles/a/0.npy", size=1)
    tiles = [TileReceipt(index=0, fingerprint="f0", status="stored", objects=(file,))]
    tiles += [TileReceipt(index=n, fingerprint=f"f{n}", status="empty") for n in range(1, count)]
    path = output / make_patch_index(
        LocalStore(output), plan_of(count), tiles, points=points, tile_of_point=tile_of_point
    )
    return geopandas.read_parquet(path)


def collection(properties: list[dict[str, object]]) -> dict[str, object]:
    features = [
        {"type": "Feature", "properties": held, "geometry": {"type": "Point", "coordinates": [n / 8, -n / 4]}}
        for n, held in enumerate(properties)
    ]
    return {"type": "FeatureCollection", "features": features}


def test_rows_are_points_with_their_patches(tmp_path):
    index = index_of(read_points(collection([{"class": 1}, {"class": "forest"}, {"class": {}}])), tmp_path)
    assert index.crs == "EPSG:4326"
    assert index["class"].tolist() == ["1", '"forest"', "{}"]
    assert index["point"].tolist() == ["0", "1", "2"]
    assert index["patch"].tolist() == [0, 0, 1]
    assert index["status"].tolist() == ["stored", "stored", "empty"]
    assert index["file"].tolist()[:2] == ["tiles/a/0.npy"] * 2
    assert pd.isna(index["file"][2])
    assert index["crs"].tolist() == ["EPSG:32632", "EPSG:32632", "EPSG:32733"]
    assert index["left"].tolist() == [600_000, 600_000, 600_070]
    assert index["top"].tolist() == [5_000_000, 5_000_000, 4_999_970]
    assert index.geometry.y.tolist() == [0, -0.25, -0.5]


def test_the_column_point_has_the_ids_of_the_user(tmp_path):
    index = index_of(read_points(collection([{"id": "00123", "point": 5}, {"id": "A 7", "point": 6}])), tmp_path)
    assert index["point"].tolist() == ["00123", "A 7"]
    assert index["id"].tolist() == ["00123", "A 7"]
    assert index["point_given"].tolist() == [5, 6]


def test_a_property_with_a_name_of_ours_gets_a_free_one(tmp_path):
    given = {"file": "mine.jpg", "file_given": "theirs.jpg", "file_given_2": 3, "crs": "none", "geometry": "flat"}
    index = index_of(read_points(collection([given])), tmp_path)
    assert index["file"][0] == "tiles/a/0.npy"
    kept = {"file_given_3": "mine.jpg", "file_given": "theirs.jpg", "file_given_2": 3, "crs_given": "none"}
    kept["geometry_given"] = "flat"
    assert {name: index[name][0] for name in kept} == kept
    assert set(index.columns) == {*OURS, *kept, "geometry"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["a", "file", "file_given", "geometry", "geometry_given", "", "\ud800"]) | st.text(max_size=4)


def same(kept: object, given: object) -> bool:
    """Whether a value of the index is the one given, after JSON where the column is of several kinds."""
    if given is None or (isinstance(given, float) and math.isnan(given)):
        return kept is None or bool(pd.isna(kept))  # type: ignore[call-overload]  # a scalar
    if isinstance(kept, str) and not (isinstance(given, str) and kept == given):
        return json.dumps(json.loads(kept)) == json.dumps(given)
    return bool(kept == given)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(NAMES, JSON, max_size=4), min_size=1, max_size=4))
def test_every_property_is_kept(tmp_path, properties):
    index = index_of(read_points(collection(properties)), tmp_path)
    assert len(index) == len(properties)
    names = list(dict.fromkeys(name for held in properties for name in held))
    columns = [column for column in index.columns if column not in {*OURS, "geometry"}]
    assert len(columns) == len(names)
    for column, name in zip(columns, names, strict=True):
        assert column.startswith(name.encode(errors="backslashreplace").decode())
        for kept, held in zip(index[column], properties, strict=True):
            assert same(kept, held.get(name)), (column, kept, held.get(name))


@pytest.mark.parametrize("value", [1, 1.5, "text", True, [1], None])
def test_the_same_points_give_the_same_index(tmp_path, value):
    points = read_points(collection([{"value": value}, {}]))
    assert index_of(points, tmp_path).equals(index_of(points, tmp_path))
    assert len(list(tmp_path.rglob("index-*.parquet"))) == 1
