"""Extract a region of one image, tile by tile, then one mosaic."""

from __future__ import annotations

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.parameters import RegionParameters
from flows.steps import ExtractionResult, extract, named, wanted
from tasks.earthengine.planning import plan_region
from tasks.fetch import LANES
from tasks.products import mosaic, region_picture
from tasks.raster.region import read_region
from tasks.report import show_picture


class RegionResult(ExtractionResult):
    """A region on disk."""

    mosaic: str | None = None
    """Cloud Optimized GeoTIFF; None for formats that are stored as sent."""


@flow(name="extract-region", task_runner=ThreadPoolTaskRunner(max_workers=LANES))
def extract_region(parameters: RegionParameters) -> RegionResult:
    """Extract a region of one image, tile by tile, then one mosaic."""
    region = None if parameters.region is None else read_region(parameters.region)
    extracted = extract(
        parameters,
        lambda connection: plan_region(
            connection, named(parameters), wanted(parameters), region=region, tile_size=parameters.tile_size
        ),
    )
    path = picture = None
    if parameters.file_format == "GEO_TIFF":
        path = mosaic(extracted.plan, extracted.tiles, source=0, name="mosaic", output=extracted.output)
        picture, png = region_picture(extracted.plan, path, output=extracted.output)
        show_picture(png)
    extracted.check(parameters)
    return RegionResult(**extracted.result(), mosaic=path, quicklook=picture)


if __name__ == "__main__":
    from flows import region as module  # the one identity of this module: `__main__` would be a second
    from flows.command import run

    run(module.extract_region, RegionParameters)
