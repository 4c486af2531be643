"""Extract every image of a collection between two dates, or since a date, over one grid. Pixels of all dates align."""

# Without `from __future__ import annotations`: decorators of other modules read the annotations below, and could not
# resolve them if they were text.
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from pydantic import Field

from flows.area import called, first_name
from flows.extraction import extract
from flows.job import job
from flows.parameters import TimeseriesParameters
from flows.results import Extraction, ExtractionResult
from tasks.earthengine.connection import Connection
from tasks.earthengine.expression import fingerprint
from tasks.mosaic import mosaic
from tasks.pictures import contact_sheet
from tasks.plan.choices import PerFeature
from tasks.plan.plan import Plan
from tasks.plan.planning import plan_timeseries
from tasks.plan.tiles import RegionTiles
from tasks.prefect_io.file_artifacts import show_series
from tasks.prefect_io.flow_run import run_logger
from tasks.products.feature_files import remove_renamed_feature_files
from tasks.products.features import Features, series_features
from tasks.products.mosaic import find_mosaics, remove_renamed_mosaics
from tasks.products.pictures import Picture, evenly_spaced, shown_of
from tasks.raster.region import Region, read_region
from tasks.series import feature_files, series

NAMED = 10
"""Images that a line of the log names."""


class TimeseriesResult(ExtractionResult):
    """Result of an extraction of a time series."""

    files: Mapping[str, str] = Field(default_factory=dict)
    """Cloud Optimized GeoTIFF of each image, by its start (2020-05-18T134211Z) or its day (2020-05-18), or of each
    feature and image (`<feature>/<start>`). Empty for NPY, PNG and JPEG, for features that are far apart unless
    `per_feature` is `files`, and after a dry run."""
    table: str | None = None
    """CSV with one row for each date and band: valid share (0 to 1) of the region, and mean, min and max of the valid
    pixels. Several features have rows of their own. None for PNG and JPEG, and after a dry run."""
    plot: str | None = None
    """PNG that plots the table."""
    left_out: Mapping[str, str] = Field(default_factory=dict)
    """Images of the region that are not in the series, by id: older copies of a scene, images without a time, and with
    `missing_bands=skip` those that lack a band; each with the reason."""


def plan(parameters: TimeseriesParameters, connection: Connection, region: Region | None = None) -> Plan:
    """Read the metadata of the collection, and return the plan.

    Args:
        parameters: The parameters of the flow.
        connection: Connection to Earth Engine.
        region: Its region, if it is read already.

    Raises:
        InputError: A parameter is refused.
        EarthEngineError: The metadata cannot be read.
    """
    assert parameters.region is not None
    whole = plan_timeseries(
        connection,
        parameters.image_spec(),
        parameters.pixel_spec(),
        region=region or read_region(parameters.region, layer=parameters.advanced.layer or ""),
        start=parameters.start,
        end=parameters.end,
        tile_size=parameters.advanced.tile_size,
        group_by=parameters.advanced.group_by,
        missing_bands=parameters.advanced.missing_bands,
    )
    report_left_out(whole.left_out)
    return whole if parameters.end is not None else replace(whole, home=series_folder(parameters, whole))


@job("extract-timeseries", TimeseriesParameters, first_name)
def extract_timeseries(parameters: TimeseriesParameters) -> TimeseriesResult:
    """Extract every image of a collection between two dates over one grid: one file for each date, a table and a plot.

    Without an end, the series grows: each run fetches only images that are new or changed in the collection.
    """
    assert parameters.region is not None
    # Read once, since a file may change while the run fetches.
    region = read_region(parameters.region, layer=parameters.advanced.layer or "", note=run_logger().info)
    extraction = extract(parameters, partial(plan, parameters, region=region), growing=parameters.end is None)
    left_out = extraction.plan.left_out
    if extraction.planned_only:
        return TimeseriesResult(**extraction.result(), left_out=left_out)
    store, tiles = extraction.store, extraction.tiles
    files: dict[str, str] = {}
    table = plot = None
    if parameters.file_format in {"GEO_TIFF", "NPY"}:
        features = series_features(extraction.plan, region, per_feature=parameters.advanced.per_feature != "none")
        if nowhere := features.without_pixels:
            more = f" and {len(nowhere) - NAMED} more" if len(nowhere) > NAMED else ""
            run_logger().warning(
                "%d features have no pixel, and so no statistics: they have no area, or lie outside the image: %s%s",
                len(nowhere),
                ", ".join(nowhere[:NAMED]),
                more,
            )
        if parameters.file_format == "GEO_TIFF":
            files = make_files(extraction, features, parameters.advanced.per_feature)
        table, plot = series(store, extraction.plan, tiles, features, label=called(parameters))
        show_series(store.get(table), store.get(plot))
    pictures = [Picture(date, key) for date, key in files.items()] or shown_tiles(extraction)
    shown = evenly_spaced(pictures)
    note = shown_of([each.label for each in pictures], [each.label for each in shown], "images")
    picture = extraction.show(contact_sheet(store, extraction.plan, shown, note=note, label=called(parameters)))
    result = TimeseriesResult(
        **extraction.result(),
        files={date: extraction.path(key) for date, key in files.items()},
        table=extraction.path(table),
        plot=extraction.path(plot),
        left_out=left_out,
        quicklook=picture,
    )
    return extraction.finish(parameters, result)


def make_files(extraction: Extraction, features: Features, per_feature: PerFeature) -> dict[str, str]:
    """Make the files of a series, and return their keys: by date, or by feature and date."""
    whole, log = extraction.plan, run_logger()
    if features.areas and per_feature == "files":
        return make_feature_files(extraction, features)
    assert isinstance(whole.tiles, RegionTiles)
    if whole.tiles.is_sparse:
        shape = whole.tiles.tiling.geobox.shape
        filled = f"{shape.x} x {shape.y} pixels, and {100 * whole.tiles.pixels / (shape.x * shape.y):.2g} %"
        if len(features.areas) > 1:
            log.warning(
                "No mosaics are made: the %d features are far apart, and one mosaic would have %s were requested. "
                "For a file of each feature and date, set per_feature=files; for one mosaic, per_feature=none",
                len(features.areas),
                filled,
            )
            return {}
        log.warning("Each mosaic has %s were requested, because the parts of the region are far apart", filled)
    return make_mosaics(extraction)


def make_feature_files(extraction: Extraction, features: Features) -> dict[str, str]:
    """Make the file of each feature and date, and return their keys by `<feature>/<date>`, sorted."""
    whole = extraction.plan
    files = {}
    for number, source in enumerate(whole.sources):
        made = feature_files(extraction.store, whole, extraction.tiles, features, source=number, name=source.label)
        files.update({f"{name}/{source.label}": key for name, key in made.items()})
    report_renamed(remove_renamed_feature_files(extraction.store, whole, extraction.tiles, features))
    return dict(sorted(files.items()))


def shown_tiles(extraction: Extraction) -> list[Picture]:
    """Return the stored tiles of a series without mosaics as pictures."""
    whole = extraction.plan
    if not isinstance(whole.tiles, RegionTiles) or whole.tile_format.file_format != "GEO_TIFF":
        return []
    labels = ((tile, *whole.locate(tile.index)) for tile in extraction.tiles if tile.key is not None)
    return [
        Picture(f"{source.label} {whole.tiles.name(n)}", tile.key or "", tile=tile.index) for tile, source, n in labels
    ]


def make_mosaics(extraction: Extraction) -> dict[str, str]:
    """Make the mosaics that are not stored yet, and return the key of each date's mosaic, in order of the dates."""
    store, whole, tiles = extraction.store, extraction.plan, extraction.tiles
    files = find_mosaics(store, whole, tiles)
    for number, source in enumerate(whole.sources):
        if source.label not in files:
            files[source.label] = mosaic(store, whole, tiles, source=number, name=source.label)
    report_renamed(remove_renamed_mosaics(store, whole, tiles))
    return dict(sorted(files.items()))


def report_renamed(removed: Sequence[str]) -> None:
    """Log which files were removed because their images have other names now."""
    for key in removed:
        run_logger().info("%s is removed: its image has another name now, and is stored under it", key)


def report_left_out(left_out: Mapping[str, str]) -> None:
    """Log which images of a region are not in its series, and why."""
    reasons: dict[str, list[str]] = {}
    for image, reason in left_out.items():
        reasons.setdefault(reason, []).append(image)
    for reason, images in reasons.items():
        more = f" and {len(images) - NAMED} more" if len(images) > NAMED else ""
        run_logger().warning("%d left out: %s%s: %s", len(images), ", ".join(images[:NAMED]), more, reason)


def series_folder(parameters: TimeseriesParameters, plan: Plan) -> str:
    """Return the folder for the products of a growing series. It stays the same while the collection grows."""
    image = parameters.whole_image().model_dump(mode="json", exclude={"as_of"})
    identity = [image, parameters.start.isoformat(), plan.tiles.json(), plan.format_identity]
    # A series with the defaults has the folder that it had before there were these choices.
    chosen = parameters.advanced.model_dump(include={"group_by", "missing_bands"}, exclude_defaults=True)
    return f"series-{fingerprint([*identity, chosen] if chosen else identity)[:12]}"
