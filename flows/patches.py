"""Extract fixed-size patches around points, with an index."""

# Annotations are evaluated here, and not kept as text: the decorators below look at them from other modules.
from prefect import flow

from flows.parameters import PatchesParameters
from flows.steps import ExtractionResult, extract, named, plainly, run_name, wanted
from tasks.earthengine.connection import Connection
from tasks.earthengine.plan import Plan
from tasks.earthengine.planning import plan_patches
from tasks.fetch import lanes
from tasks.products import evenly, patch_index, sheet, unvisited
from tasks.raster.points import read_points
from tasks.report import show_picture


class PatchesResult(ExtractionResult):
    """Patches on disk."""

    index: str | None = None
    """GeoParquet: one row a point, with its properties, its file, grid and state. None after a dry run."""


@flow(name="extract-patches", flow_run_name=run_name, task_runner=lanes())
@plainly
def extract_patches(parameters: PatchesParameters) -> PatchesResult:
    """Extract fixed-size patches around points, each in its own UTM zone or in one CRS, with an index."""
    points = read_points(parameters.points)
    tile_of_point = None

    def make_plan(connection: Connection) -> Plan:
        nonlocal tile_of_point
        plan, tile_of_point = plan_patches(
            connection, named(parameters), wanted(parameters), points=points, size=parameters.size
        )
        return plan

    extracted = extract(parameters, make_plan)
    if extracted.planned_only:
        return PatchesResult(**extracted.result())
    assert tile_of_point is not None
    plan, tiles, output = extracted.plan, extracted.tiles, extracted.output
    index = patch_index.submit(
        unvisited(plan),
        unvisited(tiles),
        points=unvisited(points),
        tile_of_point=unvisited(tile_of_point),
        output=output,
    )
    first_point = {int(tile): row for row, tile in reversed(list(enumerate(tile_of_point)))}
    by_point = sorted(tiles, key=lambda tile: first_point[tile.index])
    files = [
        (f"point {first_point[index]}", key)
        for index, key in evenly([(tile.index, tile.key) for tile in by_point if tile.key is not None])
    ]
    picture = None
    if drawn := sheet(unvisited(plan), unvisited(files), output=output):
        picture, png = drawn
        show_picture(png)
    table = index.result()
    result = PatchesResult(**extracted.result(), index=extracted.path(table), quicklook=extracted.path(picture))
    return extracted.finish(parameters, result)
