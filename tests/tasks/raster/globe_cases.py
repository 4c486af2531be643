"""Areas on the ellipsoid, for the tests of the globe."""

import pyproj
import shapely

GEOD = pyproj.Geod(ellps="WGS84")


def area_km2(geometry):
    """Return the area of longitudes and latitudes by GeographicLib; edges of more than a fifth of a degree are cut."""
    dense = shapely.segmentize(geometry, 0.2)
    return sum(abs(GEOD.geometry_area_perimeter(part)[0]) for part in shapely.get_parts(dense)) / 1e6
