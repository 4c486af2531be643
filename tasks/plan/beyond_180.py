"""Images that are stored in degrees beyond 180, such as from 0 to 360.

It is not documented how Earth Engine reprojects the part beyond 180. So pixels of such an image are requested where its
own grid has them, and another CRS is refused for a place in that part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import shapely
from shapely.geometry.base import BaseGeometry

from tasks.errors.input import BadInputError
from tasks.plan.images import ImageRecord
from tasks.raster import globe
from tasks.raster.crs import canonical_crs
from tasks.raster.world_map import is_degrees

TOLERANCE = 1.0
"""Pixels by which a grid of the whole world may pass 180 degrees: ERA5 begins half a pixel before -180."""


def left_edge(images: Sequence[ImageRecord], names: Sequence[str], crs: str) -> float | None:
    """Return the longitude at which such an image begins, if a grid is in its CRS. None = there is no such image.

    Args:
        images: The images of a plan.
        names: Names of the bands that are requested.
        crs: Canonical name of the CRS of the grid.
    """
    return next((west for _, own, west, _ in _stored_beyond(images, names) if own == crs), None)


def check_reprojected(
    images: Sequence[ImageRecord], names: Sequence[str], crs: str, place: BaseGeometry, field: str, *, turns: bool
) -> None:
    """Check that no pixel beyond 180 degrees has to be reprojected.

    Args:
        images: The images of a plan.
        names: Names of the bands that are requested.
        crs: Canonical name of the CRS of the grid.
        place: Region or points in WGS 84 longitude and latitude, cut at 180 degrees.
        field: Parameter that the place comes from.
        turns: Whether a grid in the CRS of the image is requested where the image is stored: see :func:`left_edge`.

    Raises:
        BadInputError: The place touches a part beyond 180 degrees that would have to be reprojected.
    """
    for image, own, west, east in _stored_beyond(images, names):
        parts = [(180.0, east, -360.0)] if east > 180 else []
        parts += [(west, -180.0, 360.0)] if west < -180 else []
        beyond = [globe.cut(shapely.box(low + turn, -90, high + turn, 90)) for low, high, turn in parts]
        if not (turns and own == crs) and any(globe.touch(part, place) for part in beyond):
            raise BadInputError(
                "crs",
                crs,
                f"{image.origin} is stored in {own} from {west:g} to {east:g} degrees, and the {field} touches its "
                "part beyond 180. How Earth Engine reprojects that part is not documented",
                f"Use crs=native{f', or crs={own} with a scale' if turns else ''}",
            )


def _stored_beyond(
    images: Sequence[ImageRecord], names: Sequence[str]
) -> Iterator[tuple[ImageRecord, str, float, float]]:
    """Yield the images with a part beyond 180 degrees, each with its CRS, its western and its eastern end."""
    for image in images:
        for info in image.members or (image.info,):
            for band in info.bands:
                step = band.transform.a
                if band.id not in names or band.shape is None or band.transform.b or not band.has_own_grid:
                    continue
                if abs(band.transform.c) + abs(step) * band.shape.x <= 180 or not is_degrees(canonical_crs(band.crs)):
                    continue
                ends = band.transform.c, band.transform.c + step * band.shape.x
                west, east = min(ends), max(ends)
                if max(east - 180, -180 - west) > abs(step) * TOLERANCE:
                    yield image, canonical_crs(band.crs), west, east
                    break
