"""Extract every image of a collection between two dates, or since a date, over one grid. Pixels of all dates align."""

# Without `from __future__ import annotations`: decorators of other modules read the annotations below, and could not
# resolve them if they were text.
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from prefect import flow
from pydantic import Field

from flows.batches import one_batch_at_a_time
from flows.extraction import extract
from flows.failures import fails_with_one_message
from flows.parameters import TimeseriesParameters
from flows.results import Extraction, ExtractionResult
from tasks.earthengine.connection import Connection
from tasks.earthengine.expression import fingerprint
from tasks.mosaic import mosaic
from tasks.pictures import contact_sheet
from tasks.plan.plan import Plan
from tasks.plan.planning import plan_timeseries
from tasks.prefect_io.run_name import run_name
from tasks.products.mosaic import find_mosaics
from tasks.products.pictures import Picture, evenly_spaced
from tasks.raster.region import read_region
from tasks.series import series


class TimeseriesResult(ExtractionResult):
    """Result of an extraction of a time series."""

    files: Mapping[str, str] = Field(default_factory=dict)
    """Cloud Optimized GeoTIFF of each date (ISO 8601). Empty for NPY, PNG and JPEG, and after a dry run."""
    table: str | None = None
    """CSV with one row for each date and band: valid share (0 to 1) of the region, and mean, min and max of the valid
    pixels. None for PNG and JPEG, and after a dry run."""
    plot: str | None = None
    """PNG that plots the table."""


def plan(parameters: TimeseriesParameters, connection: Connection) -> Plan:
    """Read the metadata of the collection, and return the plan.

    Raises:
        InputError: A parameter is refused.
        EarthEngineError: The metadata cannot be read.
    """
    assert parameters.region is not None
    whole = plan_timeseries(
        connection,
        parameters.image_spec(),
        parameters.pixel_spec(),
        region=read_region(parameters.region),
        start=parameters.start,
        end=parameters.end,
        tile_size=parameters.tile_size,
    )
    return whole if parameters.end is not None else replace(whole, home=series_folder(parameters, whole))


@flow(name="extract-timeseries", flow_run_name=run_name, task_runner=one_batch_at_a_time())
@fails_with_one_message
def extract_timeseries(parameters: TimeseriesParameters) -> TimeseriesResult:
    """Extract every image of a collection between two dates over one grid: one file for each date, a table and a plot.

    Without an end, the series grows: each run fetches only images that are new or changed in the collection.
    """
    extraction = extract(parameters, partial(plan, parameters), growing=parameters.end is None)
    if extraction.planned_only:
        return TimeseriesResult(**extraction.result())
    store, tiles = extraction.store, extraction.tiles
    files: dict[str, str] = {}
    table = plot = None
    if parameters.file_format == "GEO_TIFF":
        files = make_mosaics(extraction)
    if parameters.file_format in {"GEO_TIFF", "NPY"}:
        table, plot = series(store, extraction.plan, tiles)
    pictures = evenly_spaced([Picture(date, key) for date, key in files.items()])
    picture = extraction.show(contact_sheet(store, extraction.plan, pictures))
    result = TimeseriesResult(
        **extraction.result(),
        files={date: extraction.path(key) for date, key in files.items()},
        table=extraction.path(table),
        plot=extraction.path(plot),
        quicklook=picture,
    )
    return extraction.finish(parameters, result)


def make_mosaics(extraction: Extraction) -> dict[str, str]:
    """Make the mosaics that are not stored yet, and return the key of each date's mosaic, in order of the dates."""
    store, whole, tiles = extraction.store, extraction.plan, extraction.tiles
    files = find_mosaics(store, whole, tiles)
    for number, source in enumerate(whole.sources):
        if source.label not in files:
            files[source.label] = mosaic(store, whole, tiles, source=number, name=source.label)
    return dict(sorted(files.items()))


def series_folder(parameters: TimeseriesParameters, plan: Plan) -> str:
    """Return the folder for the products of a growing series. It stays the same while the collection grows."""
    image = parameters.image.model_dump(mode="json", exclude={"as_of"})
    start = parameters.start.isoformat()
    return f"series-{fingerprint([image, start, plan.tiles.json(), plan.format_identity])[:12]}"
