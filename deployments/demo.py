"""The demo (`make demo`): runs three flows on the sandbox, from the request for pixels to the finished pictures."""

from __future__ import annotations

import os
import time
from datetime import date
from pathlib import Path

from deployments.sandbox.process import running
from flows.patches import extract_patches
from flows.region import extract_region
from flows.results import ExtractionResult
from flows.temporary_server import temporary_server
from flows.timeseries import extract_timeseries
from tasks.prefect_io.heartbeat import heartbeats

OUTPUT = Path(".demo")
# The lake of Itaipu on the Parana, where the sandbox has its sample scenes.
LAKE = [-54.66, -25.42, -54.53, -25.10]
LONGITUDES, LATITUDES = (-54.64, -54.62, -54.60, -54.58, -54.56), (-25.14, -25.20, -25.26, -25.32, -25.38)
POINTS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"plot": f"{row}{column}"},
            "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
        }
        for row, latitude in enumerate(LATITUDES)
        for column, longitude in enumerate(LONGITUDES)
    ],
}


def region() -> ExtractionResult:
    """Fetch a cloud-free Sentinel-2 composite as one Cloud Optimized GeoTIFF."""
    return extract_region(
        image="sentinel2_median",
        recipe_parameters={"start": "2020-05-01", "end": "2020-08-01"},
        bands=["B2", "B3", "B4", "B8"],
        region=LAKE,
        scale=20,
        output=str(OUTPUT),
        advanced={"tile_size": 256},
    )


def timeseries() -> ExtractionResult:
    """Fetch a year of MODIS vegetation indices on their own grid, one file per date."""
    return extract_timeseries(
        image="MODIS/061/MOD13Q1",
        bands=["NDVI", "EVI"],
        masks="nodata",  # signed bands: getPixels marks masked pixels by its nodata value
        region=LAKE,
        crs="native",
        start=date(2020, 1, 1),
        end=date(2021, 1, 1),
        output=str(OUTPUT),
    )


def patches() -> ExtractionResult:
    """Fetch training patches of a cloud-free Landsat composite, with an index of points and files."""
    return extract_patches(
        image="landsat_median",
        recipe_parameters={"start": "2020-01-01", "end": "2021-01-01"},
        points=POINTS,
        scale=30,
        size=64,
        output=str(OUTPUT),
    )


def main() -> None:
    """Run the three flows, and print where their files are."""
    results: list[tuple[str, float, ExtractionResult]] = []
    with running() as url, heartbeats():
        os.environ |= {"EARTHENGINE_ENDPOINT": url, "EARTHENGINE_PROJECT": "my-project"}
        with temporary_server():  # as in the command line: the first start with a new PREFECT_HOME takes a minute
            pass
        for job in (region, timeseries, patches):
            begun = time.monotonic()
            result = job()
            results.append((job.__name__, time.monotonic() - begun, result))
    print("\nThe pixels are from the sandbox. The README explains what is real and what is simulated.")
    for name, seconds, result in results:
        print(f"\n{name}: {result.stored} tiles stored, {result.empty} empty, {seconds:.1f} s")
        print("\n".join(lines(result)))


def lines(result: ExtractionResult) -> list[str]:
    """Return where the files of a result are, one line for each field that is not empty."""
    shown = []
    for field, value in result.model_dump(exclude={"output", "fingerprint", "stored", "empty", "failed"}).items():
        if value:
            many = isinstance(value, dict)
            shown.append(
                f"  {field:10} " + (f"{len(value)} files, such as {next(iter(value.values()))}" if many else value)
            )
    return shown


if __name__ == "__main__":
    main()
