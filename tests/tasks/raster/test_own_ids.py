"""Which property names a feature: the same one for points and for areas."""

import geopandas
import pytest
import shapely

from tasks.raster.areas import areas
from tasks.raster.point_names import point_names


@pytest.mark.parametrize(
    ("properties", "names"),
    [
        ([{"crop": "maize", "id": "f1"}, {"crop": "soy", "id": "f2"}], ["f1", "f2"]),
        ([{"Plot_ID": "007", "id": "x"}, {"Plot_ID": "008", "id": "x"}], ["007", "008"]),  # ids that are not ids
        ([{"name": "north"}, {"name": ""}], ["0", "1"]),
        ([{"crop": "maize"}, {"crop": "soy"}], ["0", "1"]),
    ],
)
def test_points_and_areas_are_named_alike(properties, names):
    shapes = [shapely.Point(i, 0) for i in range(2)]
    points = geopandas.GeoDataFrame(properties, geometry=shapes, crs="EPSG:4326")
    assert point_names(points) == names
    fields = areas([shape.buffer(0.1) for shape in shapes], properties, [None, None])
    assert [field.name for field in fields] == names


def test_the_id_of_a_geojson_feature_comes_first():
    boxes, properties = [shapely.box(i, 0, i + 1, 1) for i in range(2)], [{"id": "a"}, {"id": "b"}]
    assert [field.name for field in areas(boxes, properties, ["one", "two"])] == ["one", "two"]
    assert [field.name for field in areas(boxes, properties, [0, 1])] == ["a", "b"], "these only count the features"
