"""What an expression can be made of, beside images, numbers, strings, lists and dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from deployments.sandbox.raster import DataType, Image, Pixels
from deployments.sandbox.refusal import Refusal

WGS84 = "EPSG:4326"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Geometry:
    """A shape in a CRS."""

    shape: BaseGeometry
    crs: str = WGS84
    geodesic: bool = True
    """Whether edges are shortest paths on the ellipsoid, else straight in ``crs``."""


def ring_box(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """Return a rectangle whose ring runs as Earth Engine's: lower left, lower right, upper right, upper left.

    Scripts take the corner 0 of ``bounds()`` for the lower left one and the corner 2 for the upper right one.
    """
    return shapely.Polygon([(west, south), (east, south), (east, north), (west, north), (west, south)])


@dataclass(frozen=True)
class ErrorMargin:
    """How exact a computation must be. The sandbox is more exact than any margin, and reads none."""

    value: float | None
    unit: str


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A geometry with properties."""

    geometry: Geometry | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)


Element = Image | Feature


@dataclass(frozen=True, kw_only=True)
class Collection:
    """An ordered set of images or features."""

    elements: tuple[Any, ...]
    kind: Literal["ImageCollection", "FeatureCollection"] = "ImageCollection"
    id: str | None = None
    version: int | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class Date:
    """A moment."""

    millis: int
    """Milliseconds since 1970-01-01T00:00:00Z."""

    @property
    def moment(self) -> datetime:
        """The moment in UTC.

        Raises:
            Refusal: 400, it is not in the years 1 to 9999.
        """
        try:
            return EPOCH + timedelta(milliseconds=self.millis)
        except OverflowError:
            raise Refusal(f"Date: {self.millis} milliseconds are beyond the years that the sandbox has.") from None


@dataclass(frozen=True)
class DateRange:
    """The moments from ``start``, and before ``end``."""

    start: Date | None
    end: Date | None

    def holds(self, date: Date) -> bool:
        """Whether a moment lies in the range; its start does, its end does not."""
        return (self.start is None or self.start <= date) and (self.end is None or date < self.end)


@dataclass(frozen=True)
class Filter:
    """A choice among elements."""

    test: Callable[[Any], bool]


@dataclass(frozen=True, kw_only=True)
class Output:
    """One result of a reducer."""

    name: str
    reduce: Callable[[NDArray[Any], NDArray[np.float32]], Pixels]
    """From values and masks (layer, height, width) to pixels (height, width)."""
    type: Callable[[DataType, int], DataType]
    """From the type of the layers and their number to the type of the result."""


@dataclass(frozen=True)
class Reducer:
    """How many values become one, or a few."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Algorithm:
    """A function as a value: of the client's ``map``, or parsed from ``Image.expression``."""

    parameters: tuple[str, ...]
    body: Callable[[Mapping[str, Any]], Any]

    def __call__(self, *arguments: Any) -> Any:
        """Apply the function to arguments by position."""
        return self.body(dict(zip(self.parameters, arguments, strict=False)))


def with_properties(element: Any, properties: Mapping[str, Any]) -> Any:
    """Return an image, feature or collection with these properties and no others."""
    return replace(element, properties=dict(properties))
