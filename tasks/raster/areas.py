"""Areas: the features of a region, each with a name and its properties as text."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from tasks.raster.own_ids import id_properties, tell_apart
from tasks.raster.properties import free_name, unique_names

Properties = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Area:
    """One feature of a region."""

    name: str
    """Its own id (of GeoJSON, or an id property) if that is different for every feature, else its number from 0."""
    geometry: BaseGeometry
    """Polygon or multipolygon in the CRS of the region; empty if the feature has no area."""
    properties: Mapping[str, str]
    """Its properties as text; empty = missing. All areas of a region have the same names in the same order."""


def areas(
    geometries: Sequence[BaseGeometry | None], properties: Sequence[Properties], ids: Sequence[object]
) -> tuple[Area, ...]:
    """Return the features of a region, in their order.

    Args:
        geometries: Geometry of each feature; None = it has none.
        properties: Properties of each feature.
        ids: Id of each feature; None = it has none.
    """
    names = list(dict.fromkeys(name for each in properties for name in each))
    columns = dict(zip(names, unique_names(names), strict=True))
    numbers = [str(number) for number in range(len(ids))]
    first = [text(one) for one in ids]
    given = ([text(each.get(name)) for each in properties] for name in id_properties(names))
    # Ids that only count the features, as some programs write them, are no better than a property.
    candidates = itertools.chain([first] if first != numbers else [], given)
    own = next((each for each in candidates if tell_apart(each)), numbers)
    return tuple(
        Area(
            name=own[i],
            geometry=polygons([geometry]),
            properties={columns[name]: text(properties[i].get(name)) for name in names},
        )
        for i, geometry in enumerate(geometries)
    )


def polygons(geometries: Iterable[BaseGeometry | None]) -> BaseGeometry:
    """Return the union of all polygons among geometries as a valid polygon or multipolygon, empty if there are none."""
    parts = [part for part in geometries if part is not None and not part.is_empty]
    whole = shapely.union_all(shapely.make_valid(shapely.force_2d(parts))) if parts else shapely.Polygon()
    found = [part for part in shapely.get_parts(whole) if part.geom_type == "Polygon" and part.area > 0]
    return found[0] if len(found) == 1 else shapely.MultiPolygon(found)


def renamed(names: Iterable[str], reserved: Iterable[str]) -> list[str]:
    """Return the names of property columns beside columns that are reserved: ``mean`` becomes ``mean_given``."""
    own, taken = list(names), set(reserved)
    result: list[str] = []
    for name in own:
        result.append(free_name(name, {*own, *taken, *result}) if name in taken else name)
    return result


def text(value: object) -> str:
    """Return a property as text from which its value can be read again. A missing value is empty.

    >>> text(True), text(12345678901234567), text(0.1), text("00123"), text([1, None]), text(None)
    ('true', '12345678901234567', '0.1', '00123', '[1, null]', '')
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT are not equal to themselves
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, date):  # and datetime, and pandas' Timestamp
        return value.isoformat()
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)
