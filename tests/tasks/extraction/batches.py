"""Batches of a small plan on the sandbox, for tests."""

import json
import urllib.request

from tasks.earthengine.connection import ConnectionReference
from tasks.extraction.batch import Batch
from tasks.extraction.permits import Pace
from tasks.extraction.quota import FixedShare
from tasks.storage.address import open_store

SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
LAKE = [-54.60, -25.30, -54.55, -25.26]
BUCKET = "pixels-of-batches"
IN_FLIGHT = 4
SHARE = FixedShare(in_flight=IN_FLIGHT, of=IN_FLIGHT)


def statistics(url):
    with urllib.request.urlopen(f"{url}/sandbox/statistics") as answer:
        return json.load(answer)


def stored(plan, address):
    """Store a plan, and return its key."""
    key = f"{plan.folder}/plan.json"
    open_store(address).put(key, json.dumps(plan.json()).encode())
    return key


def batch_of(plan, address, url, *, start=0, stop=None, run_id="a-job", **more):
    return Batch(
        output=address,
        plan_key=f"{plan.folder}/plan.json",
        plan=plan.fingerprint,
        start=start,
        stop=len(plan) if stop is None else stop,
        connection=ConnectionReference(project="my-project", endpoint=url),
        pace=Pace(in_flight=IN_FLIGHT),
        run_id=run_id,
        **more,
    )
