"""The reference that the official guide teaches: a pool of threads, the official client, its default retries.

https://developers.google.com/earth-engine/guides/data_extraction ("Extracting image patches").
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ee

from tests.bench.work import PROJECT, image


def initialise(url: str) -> None:
    """Initialise the client; the one call that it makes to another host is left out."""
    ee.deprecation._FetchDataCatalogStac = dict
    ee.Initialize(None, url=url, project=PROJECT)


def extract(url: str, grids: list[dict], output: Path, *, name: str, threads: int) -> dict:
    """Write each grid's pixels as GeoTIFF.

    Returns:
        `failures`, how many tiles the client gave up, and `raised`, the first of its errors.
    """
    initialise(url)
    picture = image(name)
    failures: dict[int, str] = {}

    def one(number: int) -> None:
        try:
            data = ee.data.computePixels({"expression": picture, "fileFormat": "GEO_TIFF", "grid": grids[number]})
        except Exception as error:  # noqa: BLE001 - it raises errors of any type, and the guide's pool goes on
            failures[number] = f"{type(error).__name__}: {error}"[:200]
        else:
            (output / f"{number}.tif").write_bytes(data)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(len(grids))))
    return {"failures": len(failures), "raised": next(iter(failures.values()), "")}
