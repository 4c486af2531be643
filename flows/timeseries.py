"""Extract every image of a collection between two dates, or since a date, over one grid, aligned to the pixel."""

# Annotations are evaluated here, and not kept as text: the decorators below look at them from other modules.
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from prefect import flow
from pydantic import Field

from flows.batches import one_at_a_time
from flows.extraction import ExtractionResult, extract, named, wanted
from flows.failures import clear_failures
from flows.parameters import TimeseriesParameters
from tasks.earthengine.connection import Connection
from tasks.earthengine.expression import fingerprint
from tasks.mosaic import mosaic
from tasks.pictures import sheet
from tasks.plan.plan import Plan
from tasks.plan.planning import plan_timeseries
from tasks.prefect_io.artifacts import show_picture
from tasks.prefect_io.run_name import run_name
from tasks.prefect_io.task import unvisited
from tasks.products.mosaic import mosaics_there
from tasks.products.pictures import Picture, evenly
from tasks.raster.region import read_region
from tasks.series import series_summary


class TimeseriesResult(ExtractionResult):
    """A time series on disk."""

    files: Mapping[str, str] = Field(default_factory=dict)
    """Date (ISO 8601) to Cloud Optimized GeoTIFF; none for formats that are stored as sent."""
    table: str | None = None
    """CSV: date, band, valid share (0 to 1) of the region, mean, min and max of the valid pixels."""
    plot: str | None = None
    """PNG of the table."""


def plan(parameters: TimeseriesParameters, connection: Connection) -> Plan:
    """Ask for metadata, and plan: what can't be is refused."""
    assert parameters.region is not None
    found = plan_timeseries(
        connection,
        named(parameters),
        wanted(parameters),
        region=read_region(parameters.region),
        start=parameters.start,
        end=parameters.end,
        tile_size=parameters.tile_size,
    )
    return found if parameters.end is not None else replace(found, home=series_folder(parameters, found))


@flow(name="extract-timeseries", flow_run_name=run_name, task_runner=one_at_a_time())
@clear_failures
def extract_timeseries(parameters: TimeseriesParameters) -> TimeseriesResult:
    """Extract every image of a collection between two dates over one grid: one file a date, a table and a plot.

    Without an end it is a growing series: each run fetches what is new or changed in the collection, and no more.
    """
    extracted = extract(parameters, partial(plan, parameters), growing=parameters.end is None)
    if extracted.planned_only:
        return TimeseriesResult(**extracted.result())
    whole, tiles, output = extracted.plan, extracted.tiles, extracted.output
    files: dict[str, str] = {}
    table = plot = picture = None
    if parameters.file_format == "GEO_TIFF":
        files = mosaics_there(whole, tiles, output=output)
        for number, source in enumerate(whole.sources):
            if source.label not in files:
                files[source.label] = mosaic(
                    unvisited(whole), unvisited(tiles), source=number, name=source.label, output=output
                )
        files = dict(sorted(files.items()))
    if parameters.file_format in {"GEO_TIFF", "NPY"}:
        table, plot = series_summary(unvisited(whole), unvisited(tiles), output=output)
    if drawn := sheet(unvisited(whole), unvisited(evenly([Picture(*file) for file in files.items()])), output=output):
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
