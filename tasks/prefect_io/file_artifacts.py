"""Artifacts of the files of a run: where they are and what opens them, and the table and plot of a series."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import deque
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

from tasks.errors.shown_text import markdown, markdown_code
from tasks.prefect_io.artifacts import show_picture
from tasks.prefect_io.impatience import markdown_artifact, table_artifact

# For each field of a result: a time series may have thousands of files.
FILES_SHOWN = 3
# Rows of a series: the UI shows all rows of a table at once.
ROWS_SHOWN = 100
# Columns of a series: numbers, and what only programs read.
STATISTICS = ("valid_share", "mean", "min", "max")
LONG = ("image", "time_start", "time_end", "images")
# Fields of results that are files or folders, in the order in which they are shown.
SHOWN = ("mosaic", "files", "index", "table", "plot", "quicklook", "manifest", "folder")
OPENS = {
    ".tif": "QGIS, rasterio",
    ".parquet": "QGIS, geopandas",
    ".csv": "spreadsheet, pandas",
    ".png": "picture viewer",
}
"""What opens a file, by the end of its name."""


def show_outputs(result: Mapping[str, object]) -> None:
    """Publish the artifact `output`: the files of a result, and what opens them.

    Files in a bucket are links to the console. The UI cannot open a path of another machine: it is shown as it is.
    """
    folder = str(result.get("folder") or "")
    rows = []
    for name in (field for field in SHOWN if result.get(field) and field != "folder"):
        value = result[name]
        files = list(value.items()) if isinstance(value, Mapping) else [("", value)]
        for label, path in files[:FILES_SHOWN]:
            title, opens = markdown(f"{name} {label}".strip()), OPENS.get(PurePosixPath(str(path)).suffix, "")
            rows.append(f"| {title} | {_link(str(path), within=folder)} | {opens} |\n")
        if len(files) > FILES_SHOWN:
            rows.append(f"| {name} | and {len(files) - FILES_SHOWN:,} more | |\n")
    text = (
        f"# Output\n\n{_link(folder) if folder else ''}\n\n| | in this folder | opens in |\n|---|---|---|\n"
        + "".join(rows)
    )
    markdown_artifact(text, key="output", description="Where the files are, and what opens them")


def show_series(table: bytes, plot: bytes) -> None:
    """Publish the artifacts `series` (rows of the table) and `series-plot`.

    At most `ROWS_SHOWN` rows are shown: of one area the last ones, which are the newest, and of features the first.

    Args:
        table: The table, as CSV: see :func:`tasks.products.series.make_series`.
        plot: The plot, as PNG.
    """
    show_picture(plot, key="series-plot", description="The means of the series")
    lines = csv.DictReader(io.StringIO(table.decode(), newline=""))
    of_features, count, kept = "feature" in (lines.fieldnames or ()), 0, deque[dict[str, str]](maxlen=ROWS_SHOWN)
    for count, row in enumerate(lines, 1):  # noqa: B007 - the last one is the number of rows
        if not of_features or len(kept) < ROWS_SHOWN:
            kept.append(row)
    rows = [{markdown(name): _cell(name, value) for name, value in row.items() if name not in LONG} for row in kept]
    part = f"the {'first' if of_features else 'last'} {len(rows):,} of " if len(rows) < count else ""
    table_artifact(rows, key="series", description=f"{part}{count:,} rows: all are in the table of the output")


def _cell(name: str, value: str) -> str | float:
    """Return a statistic as a number in five digits, and any other value as text."""
    if value and name in STATISTICS and math.isfinite(float(value)):  # JSON has no other number
        return float(f"{float(value):.5g}")
    return markdown(value)


def _link(path: str, *, within: str = "") -> str:
    """Return a path as a link, or as it is; of a file in a folder, its path from there."""
    shown = path.removeprefix(f"{within.rstrip('/')}/") if within else path
    bucket = re.match(r"gs://([^/]+)/?(.*)", path)
    if not bucket:
        return markdown_code(shown)
    kind = "_details/" if re.search(r"\.[a-z]+$", path) else ""
    place = f"{kind}{quote(bucket[1], safe='')}/{quote(bucket[2])}"
    return f"[{markdown(shown)}](https://console.cloud.google.com/storage/browser/{place})"
