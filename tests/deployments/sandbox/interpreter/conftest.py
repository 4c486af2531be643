"""Expressions built by the real client, evaluated over small arrays that are written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import ee
import numpy as np
import pytest
import shapely
from affine import Affine

from deployments.sandbox.interpreter import evaluate, to_json
from deployments.sandbox.raster import (
    UINT8,
    Asset,
    Band,
    DataType,
    Grid,
    Image,
    Pixels,
    Projection,
    Resampling,
)
from deployments.sandbox.refusal import Refusal
from deployments.sandbox.sampling import pixel_coordinates, sample
from tasks.earthengine.connection import Connection, ensure_client

UTM = "EPSG:32621"
# Sheared, not square, off any round origin.
SKEWED = Projection(crs=UTM, transform=Affine(30, 4, 500_017, -3, -20, 7_100_009))


@pytest.fixture(scope="module", autouse=True)
def client(connection: Connection) -> None:
    """The real client builds the expressions; left alone if it was already started."""
    ensure_client(connection)


def stored(
    name: str,
    values: Any,
    *,
    kind: DataType = UINT8,
    mask: Any = None,
    projection: Projection = SKEWED,
) -> Band:
    """A band of stored pixels: ``values`` and ``mask`` are rows written out."""
    held = np.asarray(values, kind.numpy)
    share = np.ones(held.shape, np.float32) if mask is None else np.asarray(mask, np.float32)

    def reading(mode: Resampling) -> Band:
        def read(grid: Grid) -> Pixels:
            return sample(Pixels(held, share), *pixel_coordinates(grid, projection), mode)

        return Band(
            id=name,
            type=kind,
            projection=projection,
            read=read,
            dimensions=(held.shape[1], held.shape[0]),
            resampled=reading,
        )

    return reading("nearest")


@dataclass
class Shelf:
    """A catalogue in memory."""

    assets: dict[str, Asset] = field(default_factory=dict)

    def get(self, name: str) -> Asset:
        if name not in self.assets:
            raise Refusal(f"'{name}' not found.", 404)
        return self.assets[name]

    def children(self, name: str) -> tuple[Asset, ...]:
        return tuple(self.assets[key] for key in sorted(self.assets) if key.rsplit("/", 1)[0] == name)

    def put(
        self,
        name: str,
        bands: Sequence[Band],
        start: str | None = None,
        properties: Mapping[str, Any] | None = None,
        footprint: tuple[float, float, float, float] | None = None,
    ) -> None:
        moment = None if start is None else datetime.fromisoformat(start).replace(tzinfo=UTC)
        self.assets[name] = Asset(
            name=name,
            id=name,
            type="IMAGE",
            update_time=datetime(2024, 5, 6, tzinfo=UTC),
            start_time=moment,
            properties=properties or {},
            geometry=None if footprint is None else shapely.box(*footprint),
            image=Image(bands=tuple(bands)),
        )

    def put_collection(self, name: str) -> None:
        self.assets[name] = Asset(
            name=name, id=name, type="IMAGE_COLLECTION", update_time=datetime(2024, 5, 6, tzinfo=UTC)
        )


@dataclass(frozen=True)
class Bench:
    """What a test evaluates with."""

    shelf: Shelf

    def value(self, built: Any) -> Any:
        """The value of what the real client built, by way of its serializer."""
        return evaluate(ee.serializer.encode(built), self.shelf)

    def info(self, built: Any) -> Any:
        """What ``getInfo`` would return."""
        return to_json(self.value(built))

    def pixels(self, built: Any, grid: Grid) -> dict[str, list[list[Any]]]:
        """Values by band as rows, None where masked."""
        image = self.value(built)
        return {band.id: rows(band.read(grid)) for band in image.bands}

    def put(self, name: str, *bands: Band, **more: Any) -> ee.Image:
        """Store an image and name it."""
        self.shelf.put(name, bands, **more)
        return ee.Image(name)


def rows(pixels: Pixels) -> list[list[Any]]:
    return [
        [value if share > 0 else None for value, share in zip(*pair, strict=True)]
        for pair in zip(pixels.values.tolist(), pixels.mask.tolist(), strict=True)
    ]


def whole(width: int, height: int, projection: Projection = SKEWED) -> Grid:
    """The grid of stored pixels themselves."""
    return Grid(crs=projection.crs, transform=projection.transform, width=width, height=height)


@pytest.fixture
def bench() -> Bench:
    return Bench(Shelf())


@pytest.fixture
def make_band() -> Callable[..., Band]:
    return stored


@pytest.fixture
def make_grid() -> Callable[..., Grid]:
    return whole
