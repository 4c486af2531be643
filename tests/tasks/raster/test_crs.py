"""Laws of coordinate reference systems and UTM zones."""

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info

from tasks.raster.crs import SINUSOIDAL, canonical_crs, crs_name, crs_of, resolve_crs, utm_codes
from tasks.raster.reprojection import reproject


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("epsg:32633", "EPSG:32633"),
        (" EPSG:4326 ", "EPSG:4326"),
        ("OGC:CRS84", "EPSG:4326"),
        ("+proj=utm +zone=33 +datum=WGS84", "EPSG:32633"),
        (pyproj.CRS("EPSG:2193").to_wkt(), "EPSG:2193"),
        (pyproj.CRS("EPSG:32119").to_wkt("WKT1_GDAL"), "EPSG:32119"),
        ("SR-ORG:6974", SINUSOIDAL),
        ("sr-org:6974", SINUSOIDAL),
        ("+proj=sinu +R=6371007.181", SINUSOIDAL),
    ],
)
def test_every_way_to_write_a_crs_has_one_name(given_name: str, name: str) -> None:
    assert canonical_crs(given_name) == name
    assert crs_name(crs_of(given_name)) == name


@pytest.mark.parametrize("text", ["ESRI:54009", "+proj=laea +lat_0=52.5 +lon_0=10.25 +R=6370000"])
def test_a_crs_without_code_keeps_its_definition(text: str) -> None:
    name = canonical_crs(text)
    assert name == canonical_crs(name)
    xy = pyproj.Transformer.from_crs("EPSG:4326", text, always_xy=True).transform(8.7, 51.3)
    again = pyproj.Transformer.from_crs("EPSG:4326", name, always_xy=True).transform(8.7, 51.3)
    assert again == pytest.approx(xy, abs=1e-6)


@pytest.mark.parametrize("text", ["EPSG:4979", "EPSG:4978", "EPSG:5703", "EPSG:7415"])
def test_what_is_not_horizontal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"crs = '{text}': .*not a horizontal CRS"):
        canonical_crs(text)


@pytest.mark.parametrize("text", ["EPSG:99999", "nonsense", ""])
def test_what_is_no_crs_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"crs = '{text}': PROJ does not know.*EPSG:32633"):
        canonical_crs(text)


@settings(max_examples=40)  # PROJ's query is slow
@given(st.floats(-179.999, 179.999), st.floats(-79.9, 83.9))
def test_utm_zones_agree_with_proj_s_areas_of_use(lon: float, lat: float) -> None:
    areas = query_utm_crs_info("WGS 84", AreaOfInterest(lon - 1e-9, lat - 1e-9, lon + 1e-9, lat + 1e-9))
    assert utm_codes(lon, lat).item() in {f"EPSG:{area.code}" for area in areas}


def test_norway_and_svalbard_are_no_exceptions() -> None:
    """The zones of geopandas, which are those of the EPSG registry. The military grid has 32, 31, 33, 33 and 37."""
    lon, lat = [5.3, 8.9, 9.1, 20.9, 33.1], [60.4, 78.0, 78.0, 78.0, 78.0]
    zones = [geopandas.GeoSeries.from_xy([x], [y], crs=4326).estimate_utm_crs() for x, y in zip(lon, lat, strict=True)]
    assert utm_codes(lon, lat).tolist() == [f"EPSG:{zone.to_epsg()}" for zone in zones]
    assert [zone.to_epsg() for zone in zones] == [32631, 32632, 32632, 32634, 32636]


def test_zones_of_the_seams() -> None:
    assert utm_codes([-180, 180, 6, 0, -0.001], [10, 10, -0.001, 0, -80]).tolist() == [
        "EPSG:32601",
        "EPSG:32601",
        "EPSG:32732",
        "EPSG:32631",
        "EPSG:32730",
    ]
    with pytest.raises(ValueError, match=r"latitude 84\.5.*EPSG:3413"):
        utm_codes([0, 10], [0, 84.5])


def test_utm_is_chosen_by_the_centroid() -> None:
    leaning_west = shapely.Polygon([(11, -20), (13, -20), (11, -22)])  # centroid at 11.67
    assert resolve_crs("utm", leaning_west) == "EPSG:32732"
    assert resolve_crs(" UTM ", shapely.box(11.9, 4, 13, 5)) == "EPSG:32633"
    assert resolve_crs("epsg:3035", leaning_west) == "EPSG:3035"


def test_edges_keep_their_course() -> None:
    """A parallel is bent in UTM: its middle lies where PROJ puts it, and not on the chord."""
    box = shapely.box(9, 60, 21, 61)
    moved = reproject(box, "EPSG:4326", "EPSG:32633")
    _, y = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True).transform(15, 60)
    assert moved.bounds[1] == pytest.approx(y, abs=0.5)
    corner = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True).transform(9, 60)
    assert corner[1] - y > 10_000, "the chord of the corners would miss this much"
    assert shapely.get_num_coordinates(moved) > 1000


def test_the_pole_itself_is_no_tear_in_a_polar_crs() -> None:
    cap = reproject(shapely.box(-180, 60, 180, 90), "EPSG:4326", "EPSG:3413")
    radius = np.hypot(*pyproj.Transformer.from_crs(4326, 3413, always_xy=True).transform(33, 60))
    assert cap.bounds == pytest.approx((-radius, -radius, radius, radius), rel=1e-4)
