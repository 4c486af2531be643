"""Extract fixed-size patches around points, with an index."""

# Without `from __future__ import annotations`: decorators of other modules read the annotations below, and could not
# resolve them if they were text.
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import geopandas
import numpy as np
from numpy.typing import NDArray

from flows.area import called, first_name
from flows.extraction import composite_dates, extract
from flows.job import job
from flows.parameters import PatchesParameters
from flows.results import ExtractionResult
from tasks.earthengine.connection import Connection
from tasks.patch_index import patch_index
from tasks.pictures import contact_sheet
from tasks.plan.plan import Plan
from tasks.plan.planning import plan_patches
from tasks.plan.tiles import PatchTiles
from tasks.prefect_io.artifacts import show_patches
from tasks.prefect_io.flow_run import run_logger
from tasks.prefect_io.task import result_of
from tasks.products.pictures import Picture, Thumbnails, evenly_spaced
from tasks.raster.point_names import captions, id_property, patch_names, point_names
from tasks.raster.points import read_points
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store

POINTS_SHOWN = 100
"""Number of points whose files the run page lists."""


class PatchesResult(ExtractionResult):
    """Result of an extraction of patches."""

    index: str | None = None
    """GeoParquet with one row for each point: its id, its properties, and its patch's file, grid and status. None
    after a dry run."""


class PatchPlan(NamedTuple):
    """The points, and the plan of the patches around them."""

    plan: Plan
    points: geopandas.GeoDataFrame
    tile_of_point: NDArray[np.int64]
    """Number of each point's patch in the plan. Shape `(point,)`."""

    def rows(self, tiles: Sequence[TileReceipt]) -> list[dict[str, object]]:
        """Return the first points with their places and files, for people.

        Args:
            tiles: Receipts of all patches, in order.
        """
        names, shown = point_names(self.points), self.points.geometry.iloc[:POINTS_SHOWN]
        own = [tiles[tile] for tile in self.tile_of_point[:POINTS_SHOWN].tolist()]
        return [
            {"point": name, "lon": place.x, "lat": place.y, "status": tile.status, "file": tile.key or ""}
            for name, place, tile in zip(names, shown, own, strict=False)
        ]

    def note(self, shown: int, stored: int) -> str:
        """Return the words of a picture about the patches on it.

        Args:
            shown: Number of patches that are shown.
            stored: Number of patches that have pixels.
        """
        assert isinstance(self.plan.tiles, PatchTiles)
        side, more = self.plan.tiles.size, "" if shown == stored else ", evenly spaced in the order of the points"
        name = id_property(self.points)
        captions = f"captions: property {name}" if name else "captions: rows from 0, longitude and latitude"
        return f"{shown:,} of {stored:,} patches of {side} x {side} pixels{more}; {captions}"

    def first_points(self) -> dict[int, int]:
        """Return the row of the first point of each patch, by the number of the patch."""
        tiles, rows = np.unique(self.tile_of_point, return_index=True)
        return dict(zip(tiles.tolist(), rows.tolist(), strict=True))


def plan(parameters: PatchesParameters, connection: Connection) -> PatchPlan:
    """Read the points and the metadata of the image, and return the plan.

    Raises:
        InputError: A parameter is refused.
        EarthEngineError: The metadata cannot be read.
    """
    points = read_points(parameters.points, parameters.advanced.layer or "", note=run_logger().info)
    image, pixels = parameters.image_spec(), parameters.pixel_spec()
    patches, tile_of_point = plan_patches(connection, image, pixels, points=points, size=parameters.size)
    return PatchPlan(patches, points, tile_of_point)


@job("extract-patches", PatchesParameters, first_name)
def extract_patches(parameters: PatchesParameters) -> PatchesResult:
    """Extract fixed-size patches around points, each in its own UTM zone or in one CRS, with an index."""
    patches: PatchPlan | None = None
    thumbnails = Thumbnails()

    def make_plan(connection: Connection) -> Plan:
        nonlocal patches
        patches = plan(parameters, connection)
        return patches.plan

    def take_thumbnails(store: Store) -> None:
        assert patches is not None
        first = patches.first_points()
        chosen = evenly_spaced(sorted(first, key=first.__getitem__))
        thumbnails.take(store, patches.plan, [patches.plan.key(tile) for tile in chosen])

    extraction = extract(parameters, make_plan, look_ahead=take_thumbnails)
    if extraction.planned_only:
        return PatchesResult(**extraction.result())
    assert patches is not None
    patches = patches._replace(plan=extraction.plan)  # which knows its folder
    extraction = replace(extraction, names=patch_names(patches.points, patches.tile_of_point))
    store, tiles = extraction.store, extraction.tiles
    index = patch_index.submit(store, patches.plan, tiles, points=patches.points, tile_of_point=patches.tile_of_point)
    first = patches.first_points()
    by_point = sorted(tiles, key=lambda tile: first[tile.index])
    shown = evenly_spaced([tile for tile in by_point if tile.key is not None])
    labels = captions(patches.points, [first[tile.index] for tile in shown])
    pictures = [
        Picture(label, tile.key, tile.crc32c, tile.index)
        for label, tile in zip(labels, shown, strict=True)
        if tile.key is not None
    ]
    note = patches.note(len(shown), sum(tile.key is not None for tile in tiles))
    dates = composite_dates(parameters)
    sheet = contact_sheet(store, patches.plan, pictures, thumbnails, note=note, label=called(parameters), dates=dates)
    show_patches(patches.rows(tiles), points=len(patches.points))
    picture, table = extraction.show(sheet), result_of(index)
    result = PatchesResult(**extraction.result(), index=extraction.path(table), quicklook=picture)
    return extraction.finish(parameters, result)
