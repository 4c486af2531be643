"""Outputs of real runs in which one plan, receipt or note of a product was changed by someone else."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import geopandas  # noqa: F401 - the manifest imports it when it is made, which takes longer than to read any input
import pyarrow.parquet  # noqa: F401 - as above

from tasks.extraction.audit import check_whole, read_audit
from tasks.extraction.pruning import prune_output
from tasks.extraction.stored_plan import open_plan
from tasks.products.manifest import make_manifest, rows
from tasks.storage.local import LocalStore
from tests.fuzz.fuzzed import Fuzzed
from tests.tasks.extraction.test_before import BEFORE
from tests.tasks.extraction.test_planted import signed

NUMBERS = (0, -1, 1, 7, 2**31 - 1, 2**31, 2**53 + 1, 2**63, 2**64, 2**70, 10**400, 0.5, -0.0, 1e-300, 1e15, 1e300)
TEXTS = (
    *("", " ", "0", "nan", "inf", "EPSG:4326", "EPSG:0", "+proj=longlat", "unpinned", "[]", "{}", "[[1,2]]"),
    *("../../x", "/etc/passwd", "tiles/x", "a//b", "a\\b", ".hidden", "a:b?c#d%2e", "C:\\x", "gs://b/x"),
    *("\0", "\n", "\u202e", "\ud800", "é" * 300, "x" * 70_000, '"', "{" * 3_000, "POLYGON ((0 0, 1 1, 0 1, 0 0))"),
)

SMALL = 10_000
"""Bytes of JSON that may be there 5,000 times in the end: 50 MB. More would take longer to make than to read."""


def mutated(random: Random, value: Any) -> Any:
    """Return JSON values: some are changed, gone, or there more than once."""
    for left in reversed(range(random.randint(1, 3))):
        places = list(_places(value))
        if not places:
            return _other(random)
        holder, name = random.choice(places)
        action = random.random()
        if action < 0.7:
            holder[name] = _near(random, holder[name]) if random.random() < 0.6 else _other(random)
        elif action < 0.8:
            del holder[name]
        elif isinstance(holder, list):
            times = random.choice((1, 2, 5_000))
            holder[name:name] = [holder[name]] * (2 if left or len(_text(holder[name])) > SMALL else times)
        else:
            holder[random.choice((str(name).upper(), "", "__class__", *holder))] = holder[name]
    return value


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield value, name
        yield from _places(inner)


def _near(random: Random, value: Any) -> Any:
    if isinstance(value, str) and value:
        place = random.randrange(len(value))
        return value[:place] + random.choice(TEXTS) + value[place + random.randint(0, 2) :]
    if isinstance(value, int | float) and abs(value) < 2**70:
        return random.choice((-value, value + 1, value * 2, value / 3, int(value), str(value), float(value)))
    return [value]


def _other(random: Random) -> Any:
    deep: Any = 1
    for _ in range(random.choice((5, 500))):
        deep = [deep] if random.random() < 0.5 else {"a": deep}
    return random.choice((None, True, [], {}, deep, [None] * 50_000, random.choice(NUMBERS), random.choice(TEXTS)))


def _text(value: Any) -> bytes:
    """Return JSON values as text, however deep they are."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return json.dumps(value).encode()
    finally:
        sys.setrecursionlimit(usual)


def _written(random: Random, value: Any) -> bytes:
    """Return JSON values as text, sometimes torn or with other bytes."""
    data = _text(value)
    if random.random() < 0.1:
        place = random.randrange(len(data))
        data = data[:place] + random.choice((b"", b"\xff\xfe", b"\0", b"[" * 200_000, b"1e9999")) + data[place + 1 :]
    return data


def _output(random: Random, folder: Path) -> tuple[LocalStore, Path]:
    """Make an output of a real run in a folder, and return it with the folder of its plan."""
    source = random.choice(sorted(BEFORE.iterdir()))
    for path in source.rglob("*"):
        if path.is_file():
            place = folder / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place) if path.suffix != ".json" else place.write_bytes(path.read_bytes())
    return LocalStore(folder, durable=False), next(path for path in folder.iterdir() if path.name != "tiles")


def _plan(random: Random, folder: Path) -> LocalStore:
    store, place = _output(random, folder)
    value = mutated(random, json.loads((place / "plan.json").read_bytes()))
    if random.random() < 0.8:  # someone who plants it gives it the fingerprint of what it holds
        with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError, RecursionError):
            value = signed(value)
    if isinstance(value, dict) and "home" not in value and random.random() < 0.8:
        name = f"{value.get('name')!s:.20}-{value.get('fingerprint')!s:.12}"  # else it is a copy, which does not count
        place = place.rename(place.with_name(re.sub(r"[^ -.0-~]", "_", name)))
    (place / "plan.json").write_bytes(_written(random, value))
    return store


def _changed(pattern: str) -> Callable[[Random, Path], LocalStore]:
    def make(random: Random, folder: Path) -> LocalStore:
        store, place = _output(random, folder)
        path = random.choice(sorted((place / "receipts").glob(pattern)))
        path.write_bytes(_written(random, mutated(random, json.loads(path.read_bytes()))))
        return store

    return make


def _manifest(random: Random, folder: Path) -> LocalStore:
    """An output with a manifest whose note was changed, or whose receipts were."""
    store, place = _output(random, folder)
    (each,) = read_audit(store).plans
    make_manifest(store, each.plan, [each.checkpoint.tiles[index] for index in sorted(each.checkpoint.tiles)])
    path = random.choice(sorted((place / "receipts").glob("*.json")))
    path.write_bytes(_written(random, mutated(random, json.loads(path.read_bytes()))))
    return store


def read(store: LocalStore) -> None:
    """Do what an audit does: compare, ask for what is missing, make the table, prune."""
    found = read_audit(store)
    for each in found.plans:
        plan, tiles = each.plan, each.checkpoint.tiles
        for index in {0, len(plan) // 2, len(plan) - 1}:
            assert plan.request(index).path("my-project").endswith((":getPixels", ":computePixels"))
            assert plan.key(index).startswith("tiles/")
        assert open_plan(store, each.stored.key, plan.fingerprint) == plan
        if len(plan) < 1_000:
            rows(plan, [tiles[index] for index in sorted(tiles)])
            make_manifest(store, plan, [tiles[index] for index in sorted(tiles)])
    prune_output(store, found)
    check_whole(found)


KINDS = {
    "plan": Fuzzed(_plan, read),
    "receipt": Fuzzed(_changed("0*.json"), read),
    "manifest": Fuzzed(_manifest, read),
}
