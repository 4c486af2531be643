"""What a run left: are all tiles there, and are their pixels what Earth Engine would have sent without any trouble?"""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ee
import numpy as np
import rasterio

from tasks.plan.plan import Plan
from tasks.storage.receipt import Receipt
from tests.bench import work


def plans(output: Path) -> list[Path]:
    """Return the folders of all plans below an output."""
    return sorted(path.parent for path in output.glob("*/plan.json"))


def tiles_of(folder: Path) -> tuple[Plan, dict[int, Path | None]]:
    """Return a plan, and of each tile that is accounted for its file, or None where it is empty."""
    plan = Plan.from_json(json.loads((folder / "plan.json").read_text()))
    found: dict[int, Path | None] = {}
    for path in (folder / "receipts").glob("[0-9]*.json"):
        for tile in Receipt.from_json(json.loads(path.read_text())).tiles:
            if tile.status == "empty":
                found[tile.index] = None
            elif tile.status == "stored" and tile.key:
                file = folder.parent / tile.key
                if file.is_file() and file.stat().st_size == tile.size:
                    found[tile.index] = file
    return plan, found


def ours(output: Path, expected: int, *, image: str, sample: int | None = 50) -> dict[str, int]:
    """Return `lost` and `wrong` of everything that flows stored below an output."""
    wrong, there = 0, 0
    for folder in plans(output):
        plan, found = tiles_of(folder)
        there += len(found)
        stored = {index: path for index, path in found.items() if path is not None}
        if plan.tile_format.file_format == "GEO_TIFF":
            wrong += count_wrong({plan_grid(plan, index): path for index, path in _chosen(stored, sample)}, image)
    return {"lost": expected - there, "wrong": wrong}


def theirs(output: Path, grids: list[dict], *, image: str, sample: int | None = 50) -> dict[str, int]:
    """Return `lost` and `wrong` of what the reference wrote."""
    files = {number: output / f"{number}.tif" for number in range(len(grids))}
    there = {number: path for number, path in files.items() if path.is_file()}
    chosen = {json.dumps(grids[number]): path for number, path in _chosen(there, sample)}
    return {"lost": len(grids) - len(there), "wrong": count_wrong(chosen, image)}


def plan_grid(plan: Plan, index: int) -> str:
    """Return the grid of a tile as JSON."""
    return json.dumps(plan.grid(index).json())


def _chosen(files: dict[int, Path], sample: int | None) -> list[tuple[int, Path]]:
    items = sorted(files.items())
    return items if sample is None or len(items) <= sample else random.Random(0).sample(items, sample)


def count_wrong(files: dict[str, Path], image: str) -> int:
    """Return how many files differ from the truth, which is asked for with all knobs off."""
    picture = work.image(image)
    # A pixel is valid where Earth Engine's mask is above 0.
    masks = picture.mask().gt(0).toUint8()

    def differs(item: tuple[str, Path]) -> bool:
        grid, path = json.loads(item[0]), item[1]
        values, valid = (_pixels(what, grid) for what in (picture, masks))
        with rasterio.open(path) as file:
            stored, tags = file.read(), file.tags()
            seen = file.read_masks() > 0
            same_place = tuple(file.transform)[:6] == _affine(grid)
        # Where nothing says what is masked, zeroes stand for it; so the official client's files read too.
        known = tags.get("MASK") != "unknown" and "FINGERPRINT" in tags
        same_mask = not known or np.array_equal(seen, valid > 0)
        return not (same_place and same_mask and np.array_equal(stored[valid > 0], values[valid > 0]))

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(differs, files.items()))


def _pixels(picture, grid: dict) -> np.ndarray:
    answer = ee.data.computePixels({"expression": picture, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    return np.stack([answer[name] for name in answer.dtype.names])


def _affine(grid: dict) -> tuple[float, ...]:
    a = grid["affineTransform"]
    return tuple(float(a[k]) for k in ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY"))
