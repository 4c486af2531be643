"""Extract every image of a collection between two dates over one grid, aligned to the pixel."""

# Annotations are evaluated here, and not kept as text: the decorators below look at them from other modules.
from collections.abc import Mapping

from prefect import flow
from pydantic import Field

from flows.parameters import TimeseriesParameters
from flows.steps import ExtractionResult, extract, named, plainly, run_name, wanted
from tasks.earthengine.planning import plan_timeseries
from tasks.fetch import lanes
from tasks.products import evenly, mosaic, series_summary, sheet, unvisited
from tasks.raster.region import read_region
from tasks.report import show_picture


class TimeseriesResult(ExtractionResult):
    """A time series on disk."""

    files: Mapping[str, str] = Field(default_factory=dict)
    """Date (ISO 8601) to Cloud Optimized GeoTIFF; none for formats that are stored as sent."""
    table: str | None = None
    """CSV: date, band, valid share (0 to 1) of the region, mean, min and max of the valid pixels."""
    plot: str | None = None
    """PNG of the table."""


@flow(name="extract-timeseries", flow_run_name=run_name, task_runner=lanes())
@plainly
def extract_timeseries(parameters: TimeseriesParameters) -> TimeseriesResult:
    """Extract every image of a collection between two dates over one grid: one file a date, a table and a plot."""
    assert parameters.region is not None
    region = read_region(parameters.region)
    extracted = extract(
        parameters,
        lambda connection: plan_timeseries(
            connection,
            named(parameters),
            wanted(parameters),
            region=region,
            start=parameters.start,
            end=parameters.end,
            tile_size=parameters.tile_size,
        ),
    )
    plan, tiles, output = extracted.plan, extracted.tiles, extracted.output
    files: dict[str, str] = {}
    table = plot = picture = None
    if parameters.file_format == "GEO_TIFF":
        for number, source in enumerate(plan.sources):
            files[source.label] = mosaic(
                unvisited(plan), unvisited(tiles), source=number, name=source.label, output=output
            )
    if parameters.file_format in {"GEO_TIFF", "NPY"}:
        table, plot = series_summary(unvisited(plan), unvisited(tiles), output=output)
    if drawn := sheet(unvisited(plan), unvisited(evenly(list(files.items()))), output=output):
        picture, png = drawn
        show_picture(png)
    extracted.check(parameters)
    return TimeseriesResult(
        **extracted.result(),
        files={date: extracted.path(key) for date, key in files.items()},
        table=extracted.path(table),
        plot=extracted.path(plot),
        quicklook=extracted.path(picture),
    )


if __name__ == "__main__":
    from flows.command import run

    run("flows.timeseries", "extract_timeseries", TimeseriesParameters)
