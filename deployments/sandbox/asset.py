"""What assets are made of: an image with its metadata, and the outline of its pixels."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from shapely.geometry import Polygon

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


def footprint(band: StoredBand) -> Polygon | None:
    """Return the outline of a band's pixels in longitude and latitude, bent where the projection bends it.

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
    return Polygon(zip(lon.tolist(), lat.tolist(), strict=True))
