"""What is stored already: how long it takes to see that it is, and what it costs to store it for certain."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tasks.earthengine.connection import Connection, ensure_client
from tasks.extraction.checkpoint import read_checkpoint
from tasks.plan.plan import Plan, TileFormat
from tasks.plan.planning import plan_patches
from tasks.plan.specs import ImageSpec, PixelSpec
from tasks.raster.points import read_points
from tasks.storage.address import open_store
from tasks.storage.band_summary import Bands, BandSummary
from tasks.storage.checksum import crc32c
from tasks.storage.local import LocalStore
from tasks.storage.receipt import Receipt, TileObject, TileReceipt, receipt_key
from tasks.storage.store import Store
from tests.bench import work

TILE = bytes(300)
"""What each stored tile holds: the bytes are not looked at."""
BATCH = 10_000


def job(spec: dict):
    """Return what runs in the clock: a checkpoint is read of a plan of which every tile is stored."""
    connection = Connection(project=work.PROJECT, endpoint=spec["url"])
    ensure_client(connection)
    wanted = PixelSpec(
        bands=None, crs=work.CRS, scale=5.0, tile_format=TileFormat(masks="unknown"), max_requests=1_000_000
    )
    plan, _ = plan_patches(
        connection, ImageSpec(asset=work.LIGHT), wanted, points=read_points(spec["points"]), size=256
    )
    store = open_store(spec["output"])
    fill(plan, store, seed=spec.get("seed_url"), bucket=spec.get("bucket", ""), prefix=spec.get("prefix", ""))

    def run() -> dict:
        before = _megabytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        begun = time.perf_counter()
        checkpoint = read_checkpoint(plan, store)
        seconds = time.perf_counter() - begun
        return {
            "tiles": len(plan),
            "seconds": seconds,
            "mb": _megabytes("VmHWM") - before,
            "missing": len(plan) - len(checkpoint.tiles),
            "spans": len(checkpoint.spans),
        }

    return run


def fill(plan: Plan, store: Store, *, seed: str | None, bucket: str, prefix: str) -> None:
    """Store every tile of a plan and its receipts, without having fetched them; objects by a door of the fake."""
    fingerprints = [plan.tile_fingerprint(index) for index in range(len(plan))]
    keys = [plan.key(index, fingerprint) for index, fingerprint in enumerate(fingerprints)]
    if seed is None:
        quick = LocalStore(Path(store.uri), durable=False)
        versions = [quick.put(key, TILE).version for key in keys]
    else:
        for some in _by(10_000, [f"{prefix}/{key}" for key in keys]):
            body = {"bucket": bucket, "names": some, "size": len(TILE)}
            requests.post(f"{seed}/fake/seed", json=body, timeout=60).raise_for_status()
        versions = ["0"] * len(keys)
    bands = Bands(BandSummary(valid=None, counted=65_536, mean=1.5, min=1.0, max=2.0) for _ in plan.bands)
    checksum = crc32c(TILE)
    for start in range(0, len(plan), BATCH):
        stop = min(start + BATCH, len(plan))
        tiles = tuple(
            TileReceipt(
                index=index,
                fingerprint=fingerprints[index],
                status="stored",
                objects=(TileObject(key=keys[index], size=len(TILE), crc32c=checksum, version=versions[index]),),
                pixels=65_536,
                bands=bands,
                seconds=0.5,
            )
            for index in range(start, stop)
        )
        receipt = Receipt(plan=plan.fingerprint, start=start, stop=stop, tiles=tiles)
        store.put(receipt_key(plan.folder, start, stop, "bench"), receipt.encode())


def puts_a_second(folder: Path, *, durable: bool, count: int = 2_000, size: int = 50_000, threads: int = 8) -> float:
    """Return how many tiles a second a folder takes, from several threads."""
    store, data = LocalStore(folder, durable=durable), os.urandom(size)
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda n: store.commit(f"tiles/{n % 256:02x}/{n}", data, fingerprint=""), range(count)):
            pass
    return count / (time.perf_counter() - begun)


def _by(size: int, items: list[str]) -> Iterator[list[str]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _megabytes(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024
