"""Extract a region of one image: its tiles, then one mosaic."""

# Without `from __future__ import annotations`: decorators of other modules read the annotations below, and could not
# resolve them if they were text.
from functools import partial

from flows.area import called, first_name
from flows.extraction import composite_dates, extract
from flows.job import job
from flows.parameters import RegionParameters
from flows.results import ExtractionResult
from tasks.earthengine.connection import Connection
from tasks.mosaic import mosaic
from tasks.pictures import quicklook, tile_sheet
from tasks.plan.plan import Plan
from tasks.plan.planning import plan_region
from tasks.prefect_io.flow_run import run_logger
from tasks.raster.region import read_region


class RegionResult(ExtractionResult):
    """Result of an extraction of a region."""

    mosaic: str | None = None
    """Cloud Optimized GeoTIFF. None for NPY, PNG and JPEG, and after a dry run."""


def plan(parameters: RegionParameters, connection: Connection) -> Plan:
    """Read the metadata of the image, and return the plan.

    Raises:
        InputError: A parameter is refused.
        EarthEngineError: The metadata cannot be read.
    """
    region = None
    if parameters.region is not None:
        region = read_region(parameters.region, layer=parameters.advanced.layer or "", note=run_logger().info)
    image, pixels = parameters.image_spec(), parameters.pixel_spec()
    return plan_region(connection, image, pixels, region=region, tile_size=parameters.advanced.tile_size)


@job("extract-region", RegionParameters, first_name)
def extract_region(parameters: RegionParameters) -> RegionResult:
    """Extract a region of one image: fetch its tiles, then make one mosaic."""
    extraction = extract(parameters, partial(plan, parameters))
    if extraction.planned_only:
        return RegionResult(**extraction.result())
    store, tiles = extraction.store, extraction.tiles
    key, dates = None, composite_dates(parameters)
    if parameters.file_format == "GEO_TIFF":
        key = mosaic(store, extraction.plan, tiles, source=0, name="mosaic")
        picture = extraction.show(quicklook(store, extraction.plan, key, label=called(parameters), dates=dates))
    else:
        picture = extraction.show(tile_sheet(store, extraction.plan, tiles, label=called(parameters), dates=dates))
    result = RegionResult(**extraction.result(), mosaic=extraction.path(key), quicklook=picture)
    return extraction.finish(parameters, result)
