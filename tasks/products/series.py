"""The summary of a time series: a table and a plot, made from the receipts and the tiles at the edge of each area."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256

import orjson

from tasks.plan.plan import Plan
from tasks.products.features import Features
from tasks.products.headings import left_out, quantity_of, title, where
from tasks.products.mosaic import of_source
from tasks.products.product import Product, acquisitions, made_of
from tasks.products.zonal import NOTHING, Zonal, ZoneSummary, combined_bands, zonal
from tasks.raster.areas import Area, renamed
from tasks.raster.house_style import Heading
from tasks.raster.series_plot import SeriesPoint, plot_series
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store

# Part of the identity of the table. To be raised when the same tiles give another table.
VERSION = 3
# Part of the identity of the plot. To be raised when it looks otherwise.
PLOT_VERSION = 1
COLUMNS = ("date", "band", "valid_share", "mean", "min", "max", "image", "time_start", "time_end", "images")
# Characters of a label that are the day of the image.
DAY = len("2020-05-18")
# Names that no property of a feature may have in the table.
RESERVED = ("feature", *COLUMNS)


def make_series(
    store: Store,
    plan: Plan,
    tiles: Sequence[TileReceipt],
    features: Features | None = None,
    *,
    label: str = "",
) -> tuple[str, str]:
    """Write the statistics of each band on each date as a table (CSV) and a plot (PNG); return both keys.

    Columns of the table: `date`, `band`, `valid_share` (valid pixels of all pixels of the area, 0 to 1), and `mean`,
    `min` and `max` of the valid pixels that are not NaN; `image` (name of its file), `time_start` and `time_end` of the
    acquisition (ISO 8601, UTC), and `images` (ids of what it is made of, separated by spaces). If the region has
    several features, or one with properties, each of them has its own rows, and the columns `feature` (its own id, or
    its number from 0) and its properties come first. A property with the name of another column is renamed: `mean`
    becomes `mean_given`.

    The files are `series.csv` and `series.png`; those of features are `series-<features>.csv` and `.png`. So are those
    of a further box on the same grid, since its pixels are others.

    Args:
        store: The output.
        plan: The plan.
        tiles: Receipts of all its tiles, in order.
        features: The areas. None = all pixels that the receipts count.
        label: What the user calls the job; empty = nothing. It is shown in the plot.
    """
    areas = features.areas if features else ()
    about = [[area.name, dict(area.properties)] for area in areas]
    made = made_of(tiles, VERSION, features and features.identity, about, *acquisitions(plan))
    identity = features.identity if features else ""
    heading = plot_heading(plan, label)
    table = Product(store, plan.folder, "series.csv", made, identity)
    if areas or table.is_of_another_area:
        table = Product(store, plan.folder, f"series-{identity[:12]}.csv", made, identity)
    drawn = sha256(orjson.dumps([made, PLOT_VERSION, *heading])).hexdigest()
    plot = Product(store, plan.folder, table.name.replace(".csv", ".png"), drawn, identity)
    if table.is_there and plot.is_there:
        return table.key, plot.key
    points = feature_points(store, plan, tiles, features) if features else series_points(plan, tiles)
    table.put(encoded(points, areas))
    quantities = {band.id: quantity_of(plan, band.id) for band in plan.bands}
    png = plot_series(points, heading=heading, names=[area.name for area in areas], quantities=quantities)
    return table.key, plot.put(png)


def plot_heading(plan: Plan, label: str = "") -> Heading:
    """Return the words above the plot of a series."""
    count = len(plan.sources)
    words = f"Mean of the valid pixels of {count:,} image{'s' if count != 1 else ''}"
    return Heading(title(plan, label=label), (where(plan), words, left_out(plan)))


def series_points(plan: Plan, tiles: Sequence[TileReceipt]) -> list[SeriesPoint]:
    """Return one point for each source and band, computed from the receipts without reading a pixel.

    The pixels of a failed tile count as not valid.
    """
    return _points(plan, [(of_receipts(of_source(plan, tiles, number)),) for number in range(len(plan.sources))])


def feature_points(store: Store, plan: Plan, tiles: Sequence[TileReceipt], features: Features) -> Sequence[SeriesPoint]:
    """Return one point for each feature, source and band, in this order: see :func:`series_points`."""
    if not features.areas and plan.tile_format.clip is not None:
        return series_points(plan, tiles)  # the files are clipped to the one area: receipts count its pixels alone
    return _points(plan, zonal(store, plan, tiles, features.zones, features.identity), len(features.areas))


def of_receipts(tiles: Iterable[TileReceipt]) -> ZoneSummary:
    """Return the summary of all pixels that receipts count, without reading a pixel."""
    own = list(tiles)
    return ZoneSummary(pixels=sum(tile.pixels for tile in own), bands=combined_bands(tile.bands for tile in own))


def encoded(points: Iterable[SeriesPoint], areas: Sequence[Area] = ()) -> bytes:
    """Return the table as CSV: a row for each point. See :func:`make_series`."""
    head = ["feature", *renamed(areas[0].properties, RESERVED)] if areas else []
    first = [[area.name, *area.properties.values()] for area in areas]
    lines = [_line([*head, *COLUMNS])]
    for point in points:
        own = [] if point.area is None else first[point.area]
        numbers = [point.valid_share, point.mean, point.min, point.max]
        taken = [point.name, point.time.isoformat(), point.end, " ".join(point.images)]
        lines.append(_line([*own, point.day, point.band, *numbers, *taken]))
    return "".join(lines).encode()


def _line(values: Iterable[object]) -> str:
    """Return a line of CSV. A value with a carriage return is quoted, which `csv` does only for lines that end so."""
    with io.StringIO() as text:
        csv.writer(text, lineterminator="\r\n").writerow(values)
        return text.getvalue().removesuffix("\r\n") + "\n"


def _points(plan: Plan, dates: Sequence[Zonal], areas: int = 0) -> list[SeriesPoint]:
    """Return the points of summaries.

    Args:
        plan: The plan.
        dates: The summaries of each source.
        areas: Number of features; 0 = the region is one area.
    """
    points = []
    for area in range(areas or 1):
        for source, zones in zip(plan.sources, dates, strict=True):
            for place, band in enumerate(plan.bands):
                zone = zones[area]
                own = zone.bands[place] if len(zone.bands) > place else NOTHING
                points.append(
                    SeriesPoint(
                        time=datetime.fromisoformat(source.time or source.label),
                        day=source.label[:DAY],
                        band=band.id,
                        valid_share=None if own.valid is None or not zone.pixels else own.valid / zone.pixels,
                        mean=own.mean,
                        min=own.min,
                        max=own.max,
                        area=area if areas else None,
                        counted=own.counted,
                        name=source.label,
                        end=source.end or "",
                        images=source.images,
                    )
                )
    return points
