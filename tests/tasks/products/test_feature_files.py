"""Files of features, when a growing series gives their images other names."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely

from deployments.sandbox.process import running
from tasks.earthengine.connection import Connection
from tasks.products.feature_files import make_feature_files, remove_renamed_feature_files
from tasks.products.features import series_features
from tasks.raster.region import read_region
from tasks.storage.local import LocalStore
from tests.tasks.plan.dated import A, extracted, plan_of, write_scene

FIELDS = geopandas.GeoDataFrame(
    {"id": ["a", "b", "masked"]},
    geometry=[shapely.box(600000 + x, 7199850 - y, 600150 + x, 7200000 - y) for x, y in [(0, 0), (300, 0), (450, 450)]],
    crs="EPSG:32621",
)


def test_files_whose_image_has_another_name_now_are_removed(tmp_path):
    """A second image of the same start gives the first one a name with its id."""
    folder, store = tmp_path / "scenes" / "c", LocalStore(tmp_path / "out")
    values = np.where((np.arange(20) < 15)[:, None], A, 0).astype(np.uint16)
    region = json.loads(FIELDS.to_json(drop_id=True)) | {"crs": {"type": "name", "properties": {"name": "EPSG:32621"}}}

    def run(connection):
        plan = replace(plan_of(connection, "c", region=region, start=date(2020, 5, 1), tile_size=16), home="series-1")
        _, tiles = extracted(connection, plan, tmp_path / "out")
        features = series_features(plan, read_region(region), per_feature=True)
        made = [make_feature_files(store, plan, tiles, features, source=n) for n in range(len(plan.sources))]
        removed = remove_renamed_feature_files(store, plan, tiles, features)
        return [key for each in made for key in each.values()], removed

    write_scene(folder / "f0.tif", values, nodata=0, DATE_ACQUIRED="2020-05-18")
    with running(scenes=tmp_path / "scenes") as url:
        connection = Connection(project="my-project", endpoint=url)
        before, removed = run(connection)
        assert removed == []
        assert [Path(key).parts[-2:] for key in before] == [(name, "2020-05-18.tif") for name in ("a", "b", "masked")]
        write_scene(folder / "f1.tif", values + 1, nodata=1, DATE_ACQUIRED="2020-05-18")
        after, removed = run(connection)
        assert sorted(removed) == sorted(before)
        stored = {
            path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("features-*/*/*.tif")
        }
        assert stored == set(after)
        assert run(connection) == (after, [])
    means = {}
    for key in after:
        with rasterio.open(tmp_path / "out" / key) as file:
            means["/".join(Path(key).parts[-2:])] = file.read(1, masked=True).mean()
    assert means["a/2020-05-18-f0.tif"] == A[:5, :5].mean()
    assert means["b/2020-05-18-f1.tif"] == A[:5, 10:15].mean() + 1
    assert means["masked/2020-05-18-f0.tif"] is np.ma.masked
