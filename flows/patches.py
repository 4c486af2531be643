"""Extract fixed-size patches around points, with an index."""

# Without `from __future__ import annotations`: decorators of other modules read the annotations below, and could not
# resolve them if they were text.
from typing import NamedTuple

import geopandas
import numpy as np
from numpy.typing import NDArray
from prefect import flow

from flows.batches import one_batch_at_a_time
from flows.extraction import extract
from flows.failures import fails_with_one_message
from flows.parameters import PatchesParameters
from flows.results import ExtractionResult
from tasks.earthengine.connection import Connection
from tasks.patch_index import patch_index
from tasks.pictures import contact_sheet
from tasks.plan.plan import Plan
from tasks.plan.planning import plan_patches
from tasks.prefect_io.run_name import run_name
from tasks.products.pictures import Picture, Thumbnails, evenly_spaced
from tasks.raster.points import read_points
from tasks.storage.store import Store


class PatchesResult(ExtractionResult):
    """Result of an extraction of patches."""

    index: str | None = None
    """GeoParquet with one row for each point: its properties, and its patch's file, grid and status. None after a dry
    run."""


class PatchPlan(NamedTuple):
    """The points, and the plan of the patches around them."""

    plan: Plan
    points: geopandas.GeoDataFrame
    tile_of_point: NDArray[np.int64]
    """Number of each point's patch in the plan. Shape `(point,)`."""

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
    points = read_points(parameters.points)
    image, pixels = parameters.image_spec(), parameters.pixel_spec()
    patches, tile_of_point = plan_patches(connection, image, pixels, points=points, size=parameters.size)
    return PatchPlan(patches, points, tile_of_point)


@flow(name="extract-patches", flow_run_name=run_name, task_runner=one_batch_at_a_time())
@fails_with_one_message
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
    store, tiles = extraction.store, extraction.tiles
    index = patch_index.submit(store, patches.plan, tiles, points=patches.points, tile_of_point=patches.tile_of_point)
    first = patches.first_points()
    by_point = sorted(tiles, key=lambda tile: first[tile.index])
    pictures = [Picture(f"point {first[t.index]}", t.key, t.crc32c) for t in by_point if t.key is not None]
    sheet = contact_sheet(store, patches.plan, evenly_spaced(pictures), thumbnails)
    picture, table = extraction.show(sheet), index.result()
    result = PatchesResult(**extraction.result(), index=extraction.path(table), quicklook=picture)
    return extraction.finish(parameters, result)
