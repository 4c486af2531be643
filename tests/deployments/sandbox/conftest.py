"""A small catalogue that is awkward on purpose, and a server for it in this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import requests
import shapely
import uvicorn
from affine import Affine
from numpy.typing import NDArray

from deployments.sandbox.app import Sandbox
from deployments.sandbox.catalogue import Catalogue
from deployments.sandbox.faulty_http import configuration
from deployments.sandbox.knobs import Knobs
from deployments.sandbox.raster import (
    DOUBLE,
    FLOAT,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    Asset,
    Band,
    DataType,
    Grid,
    Image,
    Pixels,
    Projection,
)
from deployments.sandbox.refusal import Refusal

UTM = "EPSG:32633"
SHEARED = Affine(30, 4, 500_013, -6, -20, 4_000_017)
"""Not square, rotated and sheared, off any round origin."""
SIZE = (53, 37)
"""Width and height of the stored image."""
TYPES: dict[str, DataType] = {
    "u1": UINT8,
    "u2": UINT16,
    "u4": UINT32,
    "i1": INT8,
    "i2": INT16,
    "i4": INT32,
    "i8": INT64,
    "f4": FLOAT,
    "f8": DOUBLE,
}


def stored(name: str) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the values and the mask of a stored band, of shape (37, 53): no row, column or band is like another."""
    width, height = SIZE
    row, column = np.mgrid[:height, :width]
    values = 1 + row * 3 % 11 + column + sorted(TYPES).index(name)
    if name.startswith(("i", "f")):
        values = values * np.where((row + column) % 3, 1, -1)
    mask = ((row * 7 + column * 5) % 6 > 0).astype(np.float32)
    mask[:4, :9] = 0
    return values.astype(np.float64), mask


def sample(name: str, grid: Grid) -> Pixels:
    """Read a stored band by the nearest pixel, in its own CRS; what is outside is masked and garbage."""
    values, mask = stored(name)
    row, column = np.mgrid[: grid.height, : grid.width] + 0.5
    x, y = ~SHEARED @ grid.transform @ (column, row)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    inside = (column >= 0) & (column < SIZE[0]) & (row >= 0) & (row < SIZE[1]) & (grid.crs == UTM)
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    valid = np.where(inside, mask[row, column], 0).astype(np.float32)
    taken = np.where(valid > 0, values[row, column], 99.0)
    return Pixels(taken.astype(TYPES[name].numpy), valid)


def band(name: str) -> Band:
    """Return a lazy band of each type."""
    projection = Projection(crs=UTM, transform=SHEARED)
    return Band(
        id=name,
        type=TYPES[name],
        projection=projection,
        read=lambda grid: sample(name, grid),
        dimensions=SIZE,
        pyramiding="MODE" if name == "u1" else "MEAN",
    )


START = datetime(2023, 3, 1, 10, 30, 15, 250_000, tzinfo=UTC)


@dataclass
class Memory:
    """A catalogue in memory: one image of each type, a collection of seven, a folder with both."""

    updated: datetime = START

    def assets(self) -> dict[str, Asset]:
        image = Image(bands=tuple(band(name) for name in TYPES), footprint=shapely.box(14.9, 36.1, 15.2, 36.3))
        public, project = "projects/earthengine-public/assets/", "projects/sandbox/assets"
        all_types = Asset(
            name=public + "TEST/image",
            id="TEST/image",
            type="IMAGE",
            update_time=self.updated,
            start_time=START,
            properties={"system:index": "image", "CLOUD": 12.5, "ZERO": 0, "system:time_start": 1},
            geometry=image.footprint,
            image=image,
            size_bytes=12_345,
        )
        collection = Asset(name=public + "TEST/many", id="TEST/many", type="IMAGE_COLLECTION", update_time=self.updated)
        found = {
            asset.name: asset
            for asset in (
                Asset(name=project, id=project, type="FOLDER", update_time=self.updated),
                replace(all_types, name=project + "/image", id=project + "/image"),
                all_types,
                collection,
            )
        }
        for i in range(7):
            index = f"2023_0{i + 1}"
            footprint = shapely.box(10 * i, -i, 10 * i + 12, i + 1) if i else None
            found[f"{collection.name}/{index}"] = Asset(
                name=f"{collection.name}/{index}",
                id=f"TEST/many/{index}",
                type="IMAGE",
                update_time=self.updated,
                start_time=START + timedelta(days=30 * i),
                end_time=START + timedelta(days=30 * i + 16) if i % 2 else None,
                properties={"system:index": index, "CLOUD": 10 * i, "SENSOR": "AB"[i % 2]},
                geometry=footprint,
                image=Image(bands=(band("u2"),), footprint=footprint),
            )
        return found

    def get(self, name: str) -> Asset:
        for asset in self.assets().values():
            if name in (asset.name, asset.id):
                return asset
        raise Refusal(f"Asset '{name}' does not exist or doesn't allow this operation.", 404)

    def children(self, name: str) -> tuple[Asset, ...]:
        parent = self.get(name).name
        return tuple(a for n, a in self.assets().items() if n.rpartition("/")[0] == parent)


@dataclass
class Server:
    """A sandbox that serves, and a session to talk with it."""

    url: str
    sandbox: Sandbox
    session: requests.Session
    catalogue: Any
    """All that it can ever serve: a Memory, or another catalogue."""

    def get(self, path: str, **query: str | int) -> requests.Response:
        return self.session.get(f"{self.url}{path}", params=query, timeout=20)

    def post(self, path: str, body: object, **headers: str) -> requests.Response:
        return self.session.post(f"{self.url}{path}", json=body, headers=headers, timeout=20)

    def turn(self, **knobs: object) -> requests.Response:
        return self.session.patch(f"{self.url}/sandbox/knobs", json=knobs, timeout=20)


@contextmanager
def serving(catalogue: Catalogue, knobs: Knobs) -> Iterator[Server]:
    """Serve a catalogue in a thread of this process."""
    sandbox = Sandbox(catalogue, knobs, workers=2)
    with socket.create_server(("127.0.0.1", 0)) as listener, requests.Session() as session:
        server = uvicorn.Server(configuration(sandbox.application()))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", sandbox, session, catalogue)
        finally:
            session.close()
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with all knobs off."""
    with serving(Memory(), Knobs()) as running:
        yield running


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server with some knobs, for one test."""
    with ExitStack() as stack:
        yield lambda **knobs: stack.enter_context(serving(Memory(), Knobs(**knobs)))


@contextmanager
def initialized(url: str) -> Iterator[Any]:
    """Give the real client, unmodified, initialised without credentials; nothing outside this machine is asked."""
    import ee

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ee.deprecation, "_FetchDataCatalogStac", dict)
        ee.Reset()
        ee.Initialize(credentials=None, url=url, project="my-project")
        ee.data.setMaxRetries(0)
        yield ee
        ee.Reset()


@pytest.fixture(scope="session")
def truth() -> Callable[[str], tuple[NDArray[np.float64], NDArray[np.float32]]]:
    """Return a function to the stored values and mask of a band, both of shape (37, 53)."""
    return stored
