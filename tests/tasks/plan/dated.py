"""Collections of small GeoTIFFs for a sandbox, and their pixels as a flow extracts them."""

from functools import partial

import numpy as np
import rasterio
from affine import Affine

from tasks.earthengine.transport import fetch
from tasks.extraction.permits import Pace
from tasks.extraction.tile_fetcher import TileFetcher
from tasks.plan.plan import TileFormat
from tasks.plan.planning import plan_timeseries
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.products.mosaic import make_mosaic
from tasks.raster.region import read_region
from tasks.storage.local import LocalStore
from tasks.storage.receipt import receipt_key
from tests.tasks.extraction import extracting
from tests.tasks.extraction.extracting import a_session

A = np.arange(400, dtype=np.uint16).reshape(20, 20) + 1
BOX = [-54.8867, 64.9036, -54.8736, 64.9091]
"""The box of a scene at `place()` in EPSG:32621."""


def place(x=600000, y=7200000, size=30):
    return Affine(size, 0, x, 0, -size, y)


def write_scene(path, bands, *, at=None, crs="EPSG:32621", nodata=None, **tags):
    """Write a GeoTIFF: `bands` is one array, or arrays by name. Tags become properties of the image."""
    bands = bands if isinstance(bands, dict) else {"B1": bands}
    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(iter(bands.values()))
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=first.shape[0],
        width=first.shape[1],
        count=len(bands),
        dtype=np.result_type(*bands.values()),
        crs=crs,
        transform=at or place(),
        nodata=nodata,
    ) as file:
        for number, (name, values) in enumerate(bands.items(), 1):
            file.write(values, number)
            file.set_band_description(number, name)
        file.update_tags(**tags)


def plan_of(connection, collection, *, bands=None, crs="EPSG:32621", scale=30.0, region=BOX, tile_size=64, **more):
    """Plan a series of a collection of scenes, or of a spec."""
    spec = collection if isinstance(collection, ImageSpec) else ImageSpec(asset=f"projects/sandbox/assets/{collection}")
    dates = {key: more.pop(key, None) for key in ("start", "end")}
    return plan_timeseries(
        connection,
        spec,
        PixelSpec(bands=bands, crs=crs, scale=scale, tile_format=TileFormat(**more.pop("output", {}))),
        region=read_region(region),
        tile_size=tile_size,
        **dates,
        **more,
    )


def extracted(connection, plan, folder):
    """The rasters of a plan by label, masked, and its receipts."""
    store = LocalStore(folder)
    with a_session(Pace()) as session:
        fetcher = TileFetcher(plan=plan, ask=partial(fetch, connection), session=session, store=store)
        outcome = extracting.extract(fetcher, 0, len(plan))
    assert outcome.error is None
    tiles = outcome.receipt.tiles
    store.put(receipt_key(plan.folder, 0, len(plan), "a-run"), outcome.receipt.encode())
    assert [tile.reason for tile in tiles if tile.status == "failed"] == []
    found = {}
    for number, source in enumerate(plan.sources):
        with rasterio.open(folder / make_mosaic(store, plan, tiles, source=number, name=source.label)) as file:
            found[source.label] = file.read(masked=True)
    return found, tiles


def means(connection, plan, folder):
    """The mean of each image of a plan."""
    return {label: float(pixels.mean()) for label, pixels in extracted(connection, plan, folder)[0].items()}
