"""Names of points: what their users call them, for tables and pictures. No part of the identity of a patch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.raster.house_style import has_letters
from tasks.raster.own_ids import id_properties, tell_apart

if TYPE_CHECKING:
    import geopandas

SHOWN = 3
"""Number of points of one patch that are named."""


def ids(points: geopandas.GeoDataFrame) -> list[str] | None:
    """Return the texts of the first id property that is different for every point; None = there is none.

    Points of one MultiPoint share its properties. Each of them has its number in the property `part`, and so in its id.
    """
    name = id_property(points)
    return None if name is None else _texts(points, name)


def id_property(points: geopandas.GeoDataFrame) -> str | None:
    """Return the name of the property whose texts are the ids of points: see :func:`ids`."""
    for column in id_properties(points.columns):
        if column != points.geometry.name and not points[column].isna().any() and tell_apart(_texts(points, column)):
            return column
    return None


def _texts(points: geopandas.GeoDataFrame, column: str) -> list[str]:
    texts = [_text(value) for value in points[column]]
    if len(set(texts)) < len(texts) and "part" in points.columns:
        count = Counter(texts)
        pairs = zip(texts, points["part"], strict=True)
        texts = [text if count[text] == 1 else f"{text} part {_text(part)}" for text, part in pairs]
    return texts


def point_names(points: geopandas.GeoDataFrame) -> list[str]:
    """Return the name of each point: its id, see :func:`ids`, or else the number of its row, counted from 0."""
    return ids(points) or [str(row) for row in range(len(points))]


def captions(points: geopandas.GeoDataFrame, rows: Sequence[int]) -> list[str]:
    """Return short texts beside pictures: the id of a point, or else its row, with its longitude and latitude.

    An id with letters that no font on this machine has is replaced by the row.

    Args:
        points: The points in WGS 84.
        rows: Numbers of the rows, counted from 0.
    """
    names, texts = ids(points), []
    for row in rows:
        name = names[row] if names else ""
        if not name or not has_letters(name):
            place = points.geometry.iloc[row]
            name = f"row {row} ({place.x:.4f}, {place.y:.4f})"
        texts.append(name)
    return texts


def patch_names(points: geopandas.GeoDataFrame, tile_of_point: NDArray[np.int64]) -> dict[int, str]:
    """Return the names of the points of each patch, by its number: ``A``, ``A, B, C and 2 more``.

    Args:
        points: The points.
        tile_of_point: Number of the patch of each point, shape (point,).
    """
    by_tile: dict[int, list[str]] = {}
    for name, tile in zip(point_names(points), tile_of_point.tolist(), strict=True):
        by_tile.setdefault(tile, []).append(name)
    return {tile: named(names) for tile, names in by_tile.items()}


def named(names: Sequence[str]) -> str:
    """Return some names in one text.

    >>> named(["A", "B", "C", "D", "E"])
    'A, B, C and 2 more'
    """
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating) and np.isfinite(value) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()
