"""The mosaic task: the tiles of one image as one Cloud Optimized GeoTIFF."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.plan.plan import Plan
from tasks.plan.tiles import RegionTiles
from tasks.prefect_io.opener import open_output
from tasks.prefect_io.task_retries import RETRIED
from tasks.products.mosaic import _mosaic, of_source
from tasks.raster.cog import Piece, write_mosaic
from tasks.raster.raster import common_dtype
from tasks.storage.receipt import TileReceipt


@task(name="mosaic", task_run_name="mosaic {name}", cache_policy=NO_CACHE, **RETRIED)
def mosaic(plan: Plan, tiles: Sequence[TileReceipt], *, source: int, name: str, output: str) -> str:
    """Write the tiles of one source, out of all in order, as one Cloud Optimized GeoTIFF, and return its key."""
    assert isinstance(plan.tiles, RegionTiles)
    store, tiling = open_output(output), plan.tiles.tiling
    offset = source * len(plan.tiles)
    own = of_source(plan, tiles, source)
    product = _mosaic(store, plan, own, name)
    if product.is_there:
        return product.key
    with store.workspace() as folder:
        files = store.at_hand([tile.key for tile in own if tile.key is not None], folder)
        pieces = []
        for tile in own:
            if tile.key is not None:
                window = tiling.window(plan.tiles.place(tile.index - offset))
                pieces.append(Piece(window=window, source=files[tile.key]))
        path = write_mosaic(
            pieces,
            tiling.geobox,
            folder / product.name,
            bands=[band.id for band in plan.bands],
            dtype=common_dtype(band.dtype for band in plan.bands),
            # A growing series has another fingerprint with each date; its older files stay as they are.
            tags=plan.sources[source].tags(plan.sources[source].identity if plan.home else plan.fingerprint),
            codec=plan.tile_format.codec,
        )
        return product.put_file(path)
