"""The summary of a time series, from the receipts of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tasks.plan.plan import Plan
from tasks.products.mosaic import of_source
from tasks.raster.series_plot import SeriesPoint
from tasks.storage.receipt import TileReceipt


def series_points(plan: Plan, tiles: Sequence[TileReceipt]) -> list[SeriesPoint]:
    """Sum the receipts of each source up to one point a band, without reading a pixel again.

    A failed tile counts as not valid: its pixels are not there.
    """
    points = []
    for number, source in enumerate(plan.sources):
        own = of_source(plan, tiles, number)
        for place, band in enumerate(plan.bands):
            known = [tile.bands[place] for tile in own if len(tile.bands) > place]
            lows = [summary.min for summary in known if summary.min is not None]
            highs = [summary.max for summary in known if summary.max is not None]
            wanted = sum(tile.pixels for tile in own)
            valid = sum(summary.valid or 0 for summary in known)
            counted = sum(summary.counted for summary in known if summary.mean is not None)
            total = sum(summary.counted * summary.mean for summary in known if summary.mean is not None)
            unknown = any(summary.valid is None for summary in known)
            points.append(
                SeriesPoint(
                    time=datetime.fromisoformat(source.time or source.label),
                    band=band.id,
                    valid_share=None if unknown or not wanted else valid / wanted,
                    mean=total / counted if counted else None,
                    min=min(lows, default=None),
                    max=max(highs, default=None),
                )
            )
    return points
