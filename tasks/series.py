"""The series task: the table and the plot of a time series."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.plan.plan import Plan
from tasks.prefect_io.opener import open_output
from tasks.prefect_io.task_retries import RETRIED
from tasks.products.product import Product, made_of
from tasks.products.series import series_points
from tasks.raster.series_plot import plot_series
from tasks.storage.receipt import TileReceipt


@task(name="summarise-series", cache_policy=NO_CACHE, **RETRIED)
def series_summary(plan: Plan, tiles: Sequence[TileReceipt], *, output: str) -> tuple[str, str]:
    """Write what the valid pixels of each band on each date hold, as CSV and as a plot; return both keys."""
    store, made = open_output(output), made_of(tiles)
    table, plot = (Product(store, plan.folder, name, made) for name in ("series.csv", "series.png"))
    if table.is_there and plot.is_there:
        return table.key, plot.key
    points = list(series_points(plan, tiles))
    with io.StringIO() as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["date", "band", "valid_share", "mean", "min", "max"])
        rows.writerows([p.time.date().isoformat(), p.band, p.valid_share, p.mean, p.min, p.max] for p in points)
        table.put(text.getvalue().encode())
    title = f"{plan.sources[0].time or ''} to {plan.sources[-1].time or ''}".replace("T00:00:00+00:00", "")
    return table.key, plot.put(plot_series(points, title=title))
