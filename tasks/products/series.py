"""The summary of a time series: a table and a plot, made from the receipts of its tiles."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime

from tasks.plan.plan import Plan
from tasks.products.mosaic import of_source
from tasks.products.product import Product, made_of
from tasks.raster.series_plot import SeriesPoint, plot_series
from tasks.storage.band_summary import combined
from tasks.storage.receipt import TileReceipt
from tasks.storage.store import Store


def make_series(store: Store, plan: Plan, tiles: Sequence[TileReceipt]) -> tuple[str, str]:
    """Write the statistics of each band on each date as `series.csv` and `series.png`; return both keys.

    Columns of the table: `date`, `band`, `valid_share` (0 to 1), and `mean`, `min` and `max` of the valid pixels.
    """
    made = made_of(tiles)
    table, plot = (Product(store, plan.folder, name, made) for name in ("series.csv", "series.png"))
    if table.is_there and plot.is_there:
        return table.key, plot.key
    points = series_points(plan, tiles)
    table.put(encoded(points))
    title = f"{plan.sources[0].time or ''} to {plan.sources[-1].time or ''}".replace("T00:00:00+00:00", "")
    return table.key, plot.put(plot_series(points, title=title))


def series_points(plan: Plan, tiles: Sequence[TileReceipt]) -> list[SeriesPoint]:
    """Return one point for each source and band, computed from the receipts without reading a pixel.

    The pixels of a failed tile count as not valid.
    """
    points = []
    for number, source in enumerate(plan.sources):
        own = of_source(plan, tiles, number)
        for place, band in enumerate(plan.bands):
            whole = combined(tile.bands[place] for tile in own if len(tile.bands) > place)
            wanted = sum(tile.pixels for tile in own)
            points.append(
                SeriesPoint(
                    time=datetime.fromisoformat(source.time or source.label),
                    band=band.id,
                    valid_share=None if whole.valid is None or not wanted else whole.valid / wanted,
                    mean=whole.mean,
                    min=whole.min,
                    max=whole.max,
                )
            )
    return points


def encoded(points: Sequence[SeriesPoint]) -> bytes:
    """Return the table as CSV: a row for each point. See :func:`make_series`."""
    with io.StringIO() as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["date", "band", "valid_share", "mean", "min", "max"])
        rows.writerows([p.time.date().isoformat(), p.band, p.valid_share, p.mean, p.min, p.max] for p in points)
        return text.getvalue().encode()
