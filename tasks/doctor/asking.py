"""The requests of an examination: small, each with a deadline, and counted."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

from tasks.doctor.check import UntriedError
from tasks.earthengine.asset_name import asset_path
from tasks.earthengine.connection import Connection
from tasks.earthengine.deadlines import Deadlines
from tasks.earthengine.errors import EarthEngineError, Throttled, Transient
from tasks.earthengine.expression import encode
from tasks.earthengine.transport import exchange
from tasks.raster.encode import ENVIRONMENT

ATTEMPTS = 3
"""How often a request is sent while the service answers 429 or 5xx. Every large service does, now and then."""
UNANSWERED = 3
"""After so many requests without an answer, one after the other, no further one is sent."""
PAUSE_S, LONGEST_PAUSE_S = 1.0, 5.0
"""Seconds before it is sent again."""
LARGEST = 1 << 20
"""Largest answer, bytes."""
WORKLOAD_TAG = "pixel-quarry-doctor"
# A place on the samples of the sandbox, and on land: fields west of the Itaipu reservoir, Paraguay.
WEST, NORTH, STEP = -54.6, -25.3, 0.001
BOX = GeoBox((6, 8), Affine(STEP, 0, WEST, 0, -STEP, NORTH), "EPSG:4326")
"""6 rows and 8 columns."""
MASKED = 4
"""Columns of `BOX` that the checks mask, from the left."""


class Asking:
    """Sends requests of an examination, and counts them and the bytes of their answers.

    Args:
        connection: Connection to Earth Engine.
        seconds: Deadline of a request.
    """

    def __init__(self, connection: Connection, seconds: float = 30.0) -> None:
        self.connection, self.seconds = connection, seconds
        self.requests = self.pixel_requests = self.bytes = 0
        self.taken_s: list[float] = []
        """Seconds of each answered pixel request."""
        self.unanswered = 0
        """Requests without an answer since the last answer."""
        self.repeated = 0
        """Requests that were sent again, because the service was throttling or out of order."""
        self.throttled: list[float | None] = []
        """Retry-After of each answer that throttled, seconds; None = it had no such header."""
        self.headers: Mapping[str, str] = {}
        """Headers of the last answer."""

    def ask(
        self,
        method: str,
        path: str,
        content: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        largest: int = 32 * LARGEST,
        beyond: type[EarthEngineError] = Transient,
    ) -> tuple[Mapping[str, str], bytes]:
        """Send a request, and return the headers and the body of its answer.

        Raises:
            EarthEngineError: The request failed.
            UntriedError: The service does not answer any more.
        """
        if self.unanswered >= UNANSWERED:
            raise UntriedError(f"The last {UNANSWERED} requests had no answer, so no further one is sent.")
        self.requests += 1
        self.unanswered += 1  # until an answer comes: the thread of a check may be left behind
        body = None if content is None else json.dumps(content).encode()
        deadlines = Deadlines(connect_s=10.0, read_s=self.seconds, computing_s=0.0)
        path = f"{path}?{urlencode(params)}" if params else path
        for again in reversed(range(ATTEMPTS)):
            try:
                headers, data = exchange(
                    self.connection, method, path, body, largest=largest, beyond=beyond, deadlines=deadlines
                )
                break
            except EarthEngineError as error:
                if error.status is not None or not isinstance(error, Transient):
                    self.unanswered = 0
                if isinstance(error, Throttled):
                    self.throttled.append(error.retry_after)
                passing = isinstance(error, (Throttled, Transient)) and error.status is not None
                if not again or not passing or (error.status or 0) < http.client.TOO_MANY_REQUESTS:
                    raise
                self.repeated += 1
                time.sleep(min(error.retry_after or PAUSE_S, LONGEST_PAUSE_S))
        self.unanswered = 0
        self.bytes += len(data)
        self.headers = headers
        return headers, data

    def pixels(
        self,
        what: Any,
        wire: str,
        grid: GeoBox | Mapping[str, Any] = BOX,
        *,
        bands: Sequence[str] = (),
        largest: int = LARGEST,
        beyond: type[EarthEngineError] = Transient,
        **more: Any,
    ) -> bytes:
        """Return the file of a pixel request.

        Args:
            what: An `ee.Image`, or the id of an asset.
            wire: File format, such as ``NPY``.
            grid: The grid, or its JSON.
            bands: Names of bands; empty = all.
            largest: Largest number of bytes of the answer.
            beyond: Error if it is larger.
            **more: Other members of the request's body.

        Raises:
            EarthEngineError: The request failed.
        """
        content: dict[str, Any] = {
            "workloadTag": WORKLOAD_TAG,
            "fileFormat": wire,
            "grid": grid_json(grid) if isinstance(grid, GeoBox) else dict(grid),
        }
        if bands:
            content["bandIds"] = list(bands)
        if isinstance(what, str):
            path = f"{asset_path(full_name(what))}:getPixels"
        else:
            path = f"projects/{self.connection.project}/image:computePixels"
            content["expression"] = what if isinstance(what, dict) else encode(what)
        self.pixel_requests += 1
        begun = time.monotonic()
        _, data = self.ask("POST", path, content | more, largest=largest, beyond=beyond)
        self.taken_s.append(time.monotonic() - begun)
        return data


def full_name(asset: str) -> str:
    """Return the full name of a public asset."""
    return asset if asset.startswith("projects/") else f"projects/earthengine-public/assets/{asset}"


def grid_json(box: GeoBox, crs: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a grid as Earth Engine takes it. `crs` is ``crsCode`` or ``crsWkt``; None = the code of the grid."""
    height, width = box.shape
    a, b, c, d, e, f = tuple(box.affine)[:6]
    return {
        "dimensions": {"width": width, "height": height},
        "affineTransform": {"scaleX": a, "shearX": b, "translateX": c, "shearY": d, "scaleY": e, "translateY": f},
        **(crs or {"crsCode": str(box.crs)}),
    }


def square(side: int, wide: int | None = None) -> dict[str, Any]:
    """Return the grid of a request of many pixels."""
    return grid_json(GeoBox((side, wide or side), Affine(1e-5, 0, WEST, 0, -1e-5, NORTH), "EPSG:4326"))


def sample(value: float, kind: str) -> Any:
    """Return an `ee.Image` with one band ``v``: a constant of a type, masked in the first columns of `BOX`.

    Args:
        value: The constant.
        kind: Type as Earth Engine names it, such as ``Int16``.
    """
    import ee

    kept = ee.Image.pixelLonLat().select("longitude").gt(WEST + MASKED * STEP)
    return getattr(ee.Image.constant(value), f"to{kind}")().updateMask(kept).rename(["v"])


def expected_valid() -> NDArray[np.bool_]:
    """Return the mask of :func:`sample` on `BOX`, True = valid."""
    valid = np.zeros(tuple(BOX.shape), dtype=bool)
    valid[:, MASKED:] = True
    return valid


def read_tiff(data: bytes) -> tuple[NDArray[Any], float | None]:
    """Return the values (band, y, x) of a GeoTIFF, and its nodata value."""
    with rasterio.Env(**ENVIRONMENT), MemoryFile(data) as memory, memory.open(driver="GTiff") as file:
        return file.read(), file.nodata
