"""Extract a region of one image, tile by tile, then one mosaic."""

# Annotations are evaluated here, and not kept as text: the decorators below look at them from other modules.
from functools import partial

from prefect import flow

from flows.parameters import RegionParameters
from flows.steps import ExtractionResult, extract, named, plainly, run_name, wanted
from tasks.earthengine.connection import Connection
from tasks.earthengine.plan import Plan
from tasks.earthengine.planning import plan_region
from tasks.fetch import one_at_a_time
from tasks.pictures import pictures, region_picture
from tasks.products import mosaic, unvisited
from tasks.raster.region import read_region
from tasks.report import show_picture


class RegionResult(ExtractionResult):
    """A region on disk."""

    mosaic: str | None = None
    """Cloud Optimized GeoTIFF; None for formats that are stored as sent."""


def plan(parameters: RegionParameters, connection: Connection) -> Plan:
    """Ask for metadata, and plan: what can't be is refused."""
    region = None if parameters.region is None else read_region(parameters.region)
    return plan_region(connection, named(parameters), wanted(parameters), region=region, tile_size=parameters.tile_size)


@flow(name="extract-region", flow_run_name=run_name, task_runner=one_at_a_time())
@plainly
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
