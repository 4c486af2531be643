"""Extract every image of a collection between two dates, or since a date, over one grid, aligned to the pixel."""

# Annotations are evaluated here, and not kept as text: the decorators below look at them from other modules.
from collections.abc import Mapping
from dataclasses import replace

from prefect import flow
from pydantic import Field

from flows.parameters import TimeseriesParameters
from flows.steps import ExtractionResult, extract, named, plainly, run_name, wanted
from tasks.earthengine.connection import Connection
from tasks.earthengine.expression import fingerprint
from tasks.earthengine.plan import Plan
from tasks.earthengine.planning import plan_timeseries
from tasks.fetch import lanes
from tasks.products import evenly, mosaic, mosaics_there, series_summary, sheet, unvisited
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
    """Extract every image of a collection between two dates over one grid: one file a date, a table and a plot.

    Without an end it is a growing series: each run fetches what is new or changed in the collection, and no more.
    """
    assert parameters.region is not None
    region, growing = read_region(parameters.region), parameters.end is None

    def make_plan(connection: Connection) -> Plan:
        plan = plan_timeseries(
            connection,
            named(parameters),
            wanted(parameters),
            region=region,
            start=parameters.start,
            end=parameters.end,
            tile_size=parameters.tile_size,
        )
        return replace(plan, home=series_folder(parameters, plan)) if growing else plan

    extracted = extract(parameters, make_plan, growing=growing)
    if extracted.planned_only:
        return TimeseriesResult(**extracted.result())
    plan, tiles, output = extracted.plan, extracted.tiles, extracted.output
    files: dict[str, str] = {}
    table = plot = picture = None
    if parameters.file_format == "GEO_TIFF":
        files = mosaics_there(plan, tiles, output=output)
        for number, source in enumerate(plan.sources):
            if source.label not in files:
                files[source.label] = mosaic(
                    unvisited(plan), unvisited(tiles), source=number, name=source.label, output=output
                )
        files = dict(sorted(files.items()))
    if parameters.file_format in {"GEO_TIFF", "NPY"}:
        table, plot = series_summary(unvisited(plan), unvisited(tiles), output=output)
    if drawn := sheet(unvisited(plan), unvisited(evenly(list(files.items()))), output=output):
        picture, png = drawn
        show_picture(png)
    result = TimeseriesResult(
        **extracted.result(),
        files={date: extracted.path(key) for date, key in files.items()},
        table=extracted.path(table),
        plot=extracted.path(plot),
        quicklook=extracted.path(picture),
    )
    return extracted.finish(parameters, result)


def series_folder(parameters: TimeseriesParameters, plan: Plan) -> str:
    """Return the folder of the products of a growing series: the same, whatever the collection holds."""
    image = parameters.image.model_dump(mode="json", exclude={"as_of"})
    start = parameters.start.isoformat()
    return f"series-{fingerprint([image, start, plan.tiles.json(), plan.format_identity])[:12]}"
