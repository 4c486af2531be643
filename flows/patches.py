"""Extract fixed-size patches around points, with an index."""

# Annotations are evaluated here, and not kept as text: the decorators below look at them from other modules.
from typing import NamedTuple

import geopandas
import numpy as np
from numpy.typing import NDArray
from prefect import flow

from flows.batches import one_at_a_time
from flows.extraction import ExtractionResult, extract, named, wanted
from flows.failures import clear_failures
from flows.parameters import PatchesParameters
from tasks.earthengine.connection import Connection
from tasks.patch_index import patch_index
from tasks.pictures import sheet
from tasks.plan.plan import Plan
from tasks.plan.planning import plan_patches
from tasks.prefect_io.artifacts import show_picture
from tasks.prefect_io.run_name import run_name
from tasks.prefect_io.task import unvisited
from tasks.products.pictures import Picture, Thumbnails, evenly
from tasks.raster.points import read_points


class PatchesResult(ExtractionResult):
    """Patches on disk."""

    index: str | None = None
    """GeoParquet: one row a point, with its properties, its file, grid and state. None after a dry run."""


class PatchPlan(NamedTuple):
    """Points, and the plan of the patches around them."""

    plan: Plan
    points: geopandas.GeoDataFrame
    tile_of_point: NDArray[np.int64]
    """For each point the number of its patch in the plan."""

    def first_points(self) -> dict[int, int]:
        """Return the first point of each patch, by the patch's number."""
        tiles, rows = np.unique(self.tile_of_point, return_index=True)
        return dict(zip(tiles.tolist(), rows.tolist(), strict=True))


def plan(parameters: PatchesParameters, connection: Connection) -> PatchPlan:
    """Ask for metadata, and plan: what can't be is refused."""
    points = read_points(parameters.points)
    found, tile_of_point = plan_patches(
        connection, named(parameters), wanted(parameters), points=points, size=parameters.size
    )
    return PatchPlan(found, points, tile_of_point)


@flow(name="extract-patches", flow_run_name=run_name, task_runner=one_at_a_time())
@clear_failures
def extract_patches(parameters: PatchesParameters) -> PatchesResult:
    """Extract fixed-size patches around points, each in its own UTM zone or in one CRS, with an index."""
    placed: PatchPlan | None = None
    looks = Thumbnails()

    def make_plan(connection: Connection) -> Plan:
        nonlocal placed
        placed = plan(parameters, connection)
        return placed.plan

    def look_ahead(output: str) -> None:
        assert placed is not None
        first = placed.first_points()
        chosen = evenly(sorted(first, key=first.__getitem__))
        looks.take(placed.plan, [placed.plan.key(tile) for tile in chosen], output=output)

    extracted = extract(parameters, make_plan, look_ahead=look_ahead)
    if extracted.planned_only:
        return PatchesResult(**extracted.result())
    assert placed is not None
    points, tile_of_point = placed.points, placed.tile_of_point
    tiles, output = extracted.tiles, extracted.output
    index = patch_index.submit(
        unvisited(placed.plan),
        unvisited(tiles),
        points=unvisited(points),
        tile_of_point=unvisited(tile_of_point),
        output=output,
    )
    first = placed.first_points()
    by_point = sorted(tiles, key=lambda tile: first[tile.index])
    stored = [(tile.index, tile.key, tile.crc32c) for tile in by_point if tile.key is not None]
    files = [Picture(f"point {first[index]}", key, checksum) for index, key, checksum in evenly(stored)]
    picture = None
    if drawn := sheet(unvisited(placed.plan), unvisited(files), output=output, looks=unvisited(looks)):
        picture, png = drawn
        show_picture(png)
    table = index.result()
    result = PatchesResult(**extracted.result(), index=extracted.path(table), quicklook=extracted.path(picture))
    return extracted.finish(parameters, result)
