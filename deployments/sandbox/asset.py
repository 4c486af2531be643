"""What assets are made of: an image with its metadata, and the outline of its pixels."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from shapely import get_parts, make_valid
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from deployments.sandbox.pyramid import StoredBand
from deployments.sandbox.raster import Asset, Image
from deployments.sandbox.sampling import transformer

_EDGE_POINTS = 21


def with_image(asset: Asset, bands: tuple[StoredBand, ...]) -> Asset:
    """Return an asset with the image of its bands, which has the asset's metadata and its times.

    Args:
        asset: An IMAGE without pixels.
        bands: Its pixels.
    """
    times = {"system:time_start": asset.start_time, "system:time_end": asset.end_time}
    stamps = {key: int(when.timestamp() * 1000) for key, when in times.items() if when is not None}
    image = Image(
        bands=tuple(band.band() for band in bands),
        properties=dict(asset.properties) | stamps,
        footprint=asset.geometry,
        id=asset.id,
        version=round(asset.update_time.timestamp() * 1e6),
    )
    return replace(asset, image=image)


def footprint(band: StoredBand) -> BaseGeometry | None:
    """Return the outline of a band's pixels in longitude and latitude, bent where the projection bends it.

    Across 180 degrees it is cut there, and around a pole it reaches to the pole, as GeoJSON has it (RFC 7946).

    Args:
        band: Its dimensions and its projection count, not its mask.

    Returns:
        None where a corner lies outside what can be projected: the image is then taken for a global one.
    """
    left, top, right, bottom = 0, 0, *band.dimensions
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    steps = np.linspace(0, 1, _EDGE_POINTS)[:-1]
    cols = np.concatenate([a[0] + (b[0] - a[0]) * steps for a, b in itertools.pairwise(corners)])
    rows = np.concatenate([a[1] + (b[1] - a[1]) * steps for a, b in itertools.pairwise(corners)])
    affine = band.projection.transform
    xs, ys = affine.a * cols + affine.b * rows + affine.c, affine.d * cols + affine.e * rows + affine.f
    lon, lat = transformer(band.projection.crs, "EPSG:4326").transform(xs, ys, errcheck=False)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    return _whole(np.append(lon, lon[0]), np.append(lat, lat[0]))


def _whole(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> BaseGeometry:
    """Return the polygon of a closed ring whose longitudes may jump at 180 degrees."""
    plain = Polygon(zip(lon[:-1].tolist(), lat[:-1].tolist(), strict=True))
    wide = lon.min() == -180 and lon.max() == 180
    if wide or np.abs(np.diff(lon)).max() <= 180:
        if lon.min() >= -180 and lon.max() <= 180:
            return plain
        running = lon
    else:
        running = np.unwrap(lon, period=360)
    points = [*zip(running.tolist(), lat.tolist(), strict=True)]
    if abs(running[-1] - running[0]) > 1:  # it goes around the pole that is nearer
        pole = math.copysign(90, lat.mean())
        points += [(running[-1], pole), (running[0], pole)]
    ring = make_valid(Polygon(points))
    parts = [translate(ring.intersection(box(360 * k - 180, -90, 360 * k + 180, 90)), -360 * k) for k in (-1, 0, 1)]
    polygons = [part for whole in parts for part in get_parts(whole) if part.geom_type == "Polygon" and part.area]
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
