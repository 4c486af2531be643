"""Extract a region of one image, tile by tile, then one mosaic."""

# Annotations are evaluated here, and not kept as text: the decorators below look at them from other modules.
from functools import partial

from prefect import flow

from flows.batches import one_at_a_time
from flows.extraction import ExtractionResult, extract, named, wanted
from flows.failures import clear_failures
from flows.parameters import RegionParameters
from tasks.earthengine.connection import Connection
from tasks.mosaic import mosaic
from tasks.pictures import pictures, region_picture
from tasks.plan.plan import Plan
from tasks.plan.planning import plan_region
from tasks.prefect_io.artifacts import show_picture
from tasks.prefect_io.run_name import run_name
from tasks.prefect_io.task import unvisited
from tasks.raster.region import read_region


class RegionResult(ExtractionResult):
    """A region on disk."""

    mosaic: str | None = None
    """Cloud Optimized GeoTIFF; None for formats that are stored as sent."""


def plan(parameters: RegionParameters, connection: Connection) -> Plan:
    """Ask for metadata, and plan: what can't be is refused."""
    region = None if parameters.region is None else read_region(parameters.region)
    return plan_region(connection, named(parameters), wanted(parameters), region=region, tile_size=parameters.tile_size)


@flow(name="extract-region", flow_run_name=run_name, task_runner=one_at_a_time())
@clear_failures
def extract_region(parameters: RegionParameters) -> RegionResult:
    """Extract a region of one image, tile by tile, then one mosaic."""
    extracted = extract(parameters, partial(plan, parameters))
    if extracted.planned_only:
        return RegionResult(**extracted.result())
    path = picture = None
    if parameters.file_format == "GEO_TIFF":
        path = mosaic(
            unvisited(extracted.plan), unvisited(extracted.tiles), source=0, name="mosaic", output=extracted.output
        )
        picture, png = region_picture(unvisited(extracted.plan), path, output=extracted.output)
        show_picture(png)
    elif drawn := pictures(unvisited(extracted.plan), unvisited(extracted.tiles), output=extracted.output):
        picture, png = drawn
        show_picture(png)
    result = RegionResult(**extracted.result(), mosaic=extracted.path(path), quicklook=extracted.path(picture))
    return extracted.finish(parameters, result)
