"""From request to stored file, without a quota and without Prefect: the lane, plain `requests`, the official client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import ee
import requests

from tasks.earthengine.connection import Connection, ensure_client
from tasks.plan.plan import Plan, TileFormat
from tasks.plan.planning import plan_region
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.raster.region import read_region
from tests.bench import work

TILE, BANDS, ITEM = 1024, 6, 2
MB_A_TILE = TILE * TILE * BANDS * ITEM / 1e6
"""Uncompressed pixels, without masks: what is wanted, whatever is sent for it."""


def plan(connection: Connection, region: str, codec: str) -> Plan:
    """Return the plan, with exact masks."""
    ensure_client(connection)
    named = ImageSpec(expression=work.source("six")["expression"], name="six")
    wanted = PixelSpec(bands=None, crs=work.CRS, scale=2.0, tile_format=TileFormat(codec=codec))
    return plan_region(connection, named, wanted, region=read_region(region), tile_size=TILE)


def job(spec: dict):
    """Return what runs in the clock: one of `lane`, `plain`, `official`."""
    connection = Connection(project=work.PROJECT, endpoint=spec["url"])
    planned = plan(connection, spec["region"], spec.get("codec", "none"))
    threads, output = spec["threads"], Path(spec["output"])
    if spec["way"] == "lane":
        run = partial(_ours, connection, planned, output, threads)
    elif spec["way"] == "plain":
        run = partial(_plain, connection, planned, output, threads)
    else:
        run = partial(_official, planned, output, threads)

    def told() -> dict:
        run()
        return {"tiles": len(planned), "mb": len(planned) * MB_A_TILE}

    return told


def _ours(connection: Connection, planned: Plan, output: Path, threads: int) -> None:
    # Here, so that no other job depends on how tiles are fetched.
    from tasks.earthengine.transport import fetch
    from tasks.extraction.permits import Pace
    from tasks.extraction.quota import FixedShare
    from tasks.extraction.session import FetchSession
    from tasks.extraction.tile_fetcher import TileFetcher
    from tasks.storage.address import open_store

    pace = Pace(in_flight=threads, per_second=1e9)
    with FetchSession("bench", FixedShare(in_flight=threads, of=threads), pace) as session:
        store = open_store(str(output))
        fetcher = TileFetcher(plan=planned, ask=partial(fetch, connection), session=session, store=store)
        tiles, error = session.begin(range(len(planned)), fetcher.fetch).wait(lambda _: None)
    if error:
        raise error
    assert all(tile.status == "stored" for tile in tiles), tiles[0].reason


def _plain(connection: Connection, planned: Plan, output: Path, threads: int) -> None:
    url = connection.url(f"projects/{connection.project}/image:computePixels")
    with requests.Session() as session, ThreadPoolExecutor(threads) as pool:
        session.trust_env = False
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=threads))

        def one(number: int) -> None:
            answer = session.post(url, data=planned.request(number).body, timeout=60)
            answer.raise_for_status()
            (output / f"{number}.npy").write_bytes(answer.content)

        list(pool.map(one, range(len(planned))))


def _official(planned: Plan, output: Path, threads: int) -> None:
    picture = work.image("six")

    def one(number: int) -> None:
        grid = planned.grid(number).json()
        data = ee.data.computePixels({"expression": picture, "fileFormat": "GEO_TIFF", "grid": grid})
        (output / f"{number}.tif").write_bytes(data)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(len(planned))))
